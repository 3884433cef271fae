/*
 * The first process of the agent's container.
 *
 *   init FOLDER WORKSPACE COMMAND [ARGUMENT...]
 *
 * It connects to the runner's socket in FOLDER, waits for the word to begin, and runs COMMAND in
 * WORKSPACE between the FIFOs in, out and err of FOLDER. On the word to stop, or when the runner
 * is gone, it kills every process of the container, reaps them, says so, and exits.
 *
 * On the socket, the runner says `b` (begin) and `s` (stop). The init says lines: `init`, with a
 * pidfd of itself; `started`; the command's exit code, as a shell gives it; `end`, when no other
 * process is left. docs/decisions/0020 says why no agent can feign that.
 *
 * The agent has the same uid, so the init relies on nothing that such a process can change: on no
 * file, no signal, and, once the agent has begun, on no call that a limit (prlimit) bounds, as
 * poll, fork and malloc do.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum {
    FAILED = 1,
    NO_WORKSPACE = 2,
    NOT_EXECUTABLE = 126, /* A shell's exit codes (POSIX, Shell Command Language, 2.8.2). */
    NOT_FOUND = 127,
    KILLED = 128,
    REAPED_AT_ONCE = 256, /* So that who makes zombies without end does not hide the stop. */
};

static int runner;   /* The connection. */
static pid_t agent;  /* The command's process, until it is reaped. */

static void die(const char *what)
{
    fprintf(stderr, "init: %s: %s\n", what, strerror(errno));
    _exit(FAILED);
}

static void say(const char *line)
{
    size_t rest = strlen(line);
    while (rest > 0) {
        ssize_t sent = send(runner, line, rest, MSG_NOSIGNAL);
        if (sent < 0 && errno == EINTR)
            continue;
        if (sent < 0)
            return; /* The runner is gone: the next word read is the stop. */
        line += sent;
        rest -= (size_t)sent;
    }
}

/* Say `init`, and hand over a pidfd of this process where the kernel has that. */
static void introduce(void)
{
    char text[] = "init\n";
    struct iovec data = {.iov_base = text, .iov_len = sizeof text - 1};
    union {
        struct cmsghdr header;
        char space[CMSG_SPACE(sizeof(int))];
    } control;
    struct msghdr message = {.msg_iov = &data, .msg_iovlen = 1};
    int self = (int)syscall(SYS_pidfd_open, getpid(), 0);

    memset(&control, 0, sizeof control);
    if (self >= 0) {
        message.msg_control = &control;
        message.msg_controllen = sizeof control;
        struct cmsghdr *first = CMSG_FIRSTHDR(&message);
        first->cmsg_level = SOL_SOCKET;
        first->cmsg_type = SCM_RIGHTS;
        first->cmsg_len = CMSG_LEN(sizeof self);
        memcpy(CMSG_DATA(first), &self, sizeof self);
    }
    if (sendmsg(runner, &message, MSG_NOSIGNAL) < 0)
        die("the runner");
    if (self >= 0)
        close(self);
}

static void meet_runner(void)
{
    /* Relative to FOLDER: a socket's address is short. */
    struct sockaddr_un address = {.sun_family = AF_UNIX, .sun_path = "control"};

    runner = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (runner < 0 || connect(runner, (struct sockaddr *)&address, sizeof address) < 0)
        die("the runner's socket");
}

/* Open a FIFO of which the runner holds both ends: otherwise it has gone. */
static int open_pipe(const char *name, int how)
{
    int pipe = open(name, how | O_NONBLOCK | O_CLOEXEC);
    if (pipe < 0 || fcntl(pipe, F_SETFL, how) < 0)
        die(name);
    return pipe;
}

static void set_signals(void (*what)(int))
{
    for (int number = 1; number <= SIGRTMAX; number++)
        signal(number, number == SIGCHLD ? SIG_DFL : what);
}

static int is_program(const char *path)
{
    char magic[4] = {0};
    int file = open(path, O_RDONLY | O_CLOEXEC);
    if (file < 0)
        return 0;
    ssize_t size = read(file, magic, sizeof magic);
    close(file);
    return size == sizeof magic && memcmp(magic, "\177ELF", sizeof magic) == 0;
}

/* Execute one file; what has no `#!` and is no program is a script, as for any shell. */
static void try_file(const char *path, char **command, int count)
{
    execv(path, command);
    if (errno != ENOEXEC || is_program(path)) {
        return;
    }
    char **script = calloc((size_t)count + 2, sizeof *script);
    if (script == NULL)
        return;
    script[0] = "/bin/sh";
    script[1] = (char *)path;
    memcpy(script + 2, command + 1, (size_t)count * sizeof *script);
    execv(script[0], script);
}

/* Execute the command as `exec` of a shell does. Returns why not. */
static int try_command(char **command, int count)
{
    if (strchr(command[0], '/')) {
        try_file(command[0], command, count);
        return errno;
    }
    const char *folder = getenv("PATH");
    int why = ENOENT;
    if (folder == NULL)
        folder = "/usr/local/bin:/usr/bin:/bin";
    for (;;) {
        size_t length = strcspn(folder, ":");
        char path[4096];
        int size = snprintf(path, sizeof path, "%.*s%s%s", (int)length, folder,
                            length ? "/" : "./", command[0]);
        if (size > 0 && (size_t)size < sizeof path) {
            try_file(path, command, count);
            if (errno != ENOENT && errno != ENOTDIR && errno != EACCES)
                return errno;
            if (errno == EACCES)
                why = EACCES;
        }
        if (folder[length] == '\0')
            return why;
        folder += length + 1;
    }
}

static void become_agent(int in, int out, int err, const char *workspace, char **command, int count)
{
    sigset_t none;

    setpgid(0, 0);
    set_signals(SIG_DFL);
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    if (dup2(in, STDIN_FILENO) < 0 || dup2(out, STDOUT_FILENO) < 0 || dup2(err, STDERR_FILENO) < 0)
        die("the agent's streams");
    if (chdir(workspace) < 0) {
        fprintf(stderr, "%s: %s\n", workspace, strerror(errno));
        _exit(NO_WORKSPACE);
    }
    int why = try_command(command, count);
    fprintf(stderr, "%s: %s\n", command[0], why == ENOENT ? "not found" : strerror(why));
    _exit(why == ENOENT ? NOT_FOUND : NOT_EXECUTABLE);
}

static void note(pid_t pid, int status)
{
    char line[16];
    if (pid != agent || agent == 0)
        return;
    agent = 0;
    snprintf(line, sizeof line, "%d\n",
             WIFEXITED(status) ? WEXITSTATUS(status) : KILLED + WTERMSIG(status));
    say(line);
}

/* Reap what has ended. Returns whether there may be more. */
static int reap(void)
{
    for (int count = 0; count < REAPED_AT_ONCE; count++) {
        int status = 0;
        pid_t pid = waitpid(-1, &status, WNOHANG | __WALL);
        if (pid <= 0)
            return 0;
        note(pid, status);
    }
    return 1;
}

/*
 * Kill and reap until no other process is left, living or dead; then say so.
 *
 * Nobody escapes by forking: the kernel signals all under the lock that a fork takes, and a
 * process with a signal pending forks no more. `kubectl exec` puts processes into the container
 * that are no children of this one: they are seen by kill only.
 */
static void end_all(void)
{
    struct timespec moment = {.tv_nsec = 1000000};
    for (;;) {
        int is_alone = kill(-1, SIGKILL) < 0;
        if (is_alone && errno != ESRCH)
            _exit(0); /* Somebody whom only the end of this process ends; and then it is that. */
        int status = 0;
        pid_t pid = waitpid(-1, &status, is_alone ? WNOHANG | __WALL : __WALL);
        if (pid > 0) {
            note(pid, status);
            while (reap())
                continue;
        } else if (is_alone) {
            break;
        } else {
            nanosleep(&moment, NULL);
        }
    }
    say("end\n");
    _exit(0);
}

/* Read the runner's next word, if there is one. Returns 0 if not, and `s` if it is gone. */
static char next_word(void)
{
    char word = 0;
    ssize_t size = recv(runner, &word, 1, MSG_DONTWAIT);
    if (size < 0 && (errno == EAGAIN || errno == EINTR))
        return 0;
    return size == 1 ? word : 's';
}

static void watch(int all, int file)
{
    struct epoll_event event = {.events = EPOLLIN, .data.fd = file};
    if (epoll_ctl(all, EPOLL_CTL_ADD, file, &event) < 0)
        die("epoll");
}

int main(int argc, char **argv)
{
    if (argc < 4) {
        fprintf(stderr, "usage: init FOLDER WORKSPACE COMMAND [ARGUMENT...]\n");
        return FAILED;
    }
    if (getpid() != 1) {
        /* It kills all that it may: on a machine that would be everything. */
        fprintf(stderr, "init: this is not the first process of a container\n");
        return FAILED;
    }
    /* Nobody of the same uid reads its memory, opens its files by /proc, or traces it. */
    if (prctl(PR_SET_DUMPABLE, 0) < 0)
        die("PR_SET_DUMPABLE");
    for (int file = STDIN_FILENO; file <= STDERR_FILENO; file++)
        if (fcntl(file, F_GETFD) < 0 && open("/dev/null", O_RDWR) != file)
            die("/dev/null");
    set_signals(SIG_IGN);
    if (chdir(argv[1]) < 0)
        die(argv[1]);
    meet_runner();
    int in = open_pipe("in", O_RDONLY);
    int out = open_pipe("out", O_WRONLY);
    int err = open_pipe("err", O_WRONLY);

    sigset_t child;
    sigemptyset(&child);
    sigaddset(&child, SIGCHLD);
    sigprocmask(SIG_BLOCK, &child, NULL);
    int ends = signalfd(-1, &child, SFD_NONBLOCK | SFD_CLOEXEC);
    int all = epoll_create1(EPOLL_CLOEXEC);
    if (ends < 0 || all < 0)
        die("epoll");
    watch(all, runner);
    watch(all, ends);
    introduce();

    int has_begun = 0, has_more = 0;
    for (;;) {
        struct epoll_event events[2];
        struct signalfd_siginfo info;
        epoll_wait(all, events, 2, has_more ? 0 : -1);
        char word = next_word();
        if (word == 's')
            end_all();
        if (word == 'b' && !has_begun) {
            has_begun = 1;
            say("started\n");
            agent = fork();
            if (agent < 0)
                die("fork");
            if (agent == 0)
                become_agent(in, out, err, argv[2], argv + 3, argc - 3);
            close(in);
            close(out);
            close(err);
        }
        /* Once: it is pending again as soon as somebody sends it, which anybody may. */
        if (read(ends, &info, sizeof info) < 0 && errno != EAGAIN && errno != EINTR)
            die("signalfd");
        has_more = reap();
    }
}
