# Runs the agent's command between the pipes, and ends its container when the runner says so.
#
# Process 1 is the init that started this script: when the script ends, so does the container,
# and with it everything the agent started, however it detached.
pipes=${0%/*}

# How the agent ends is for the runner to decide; only it knows what is to be shipped first.
trap '' TERM

# `read` returns on a line, and on the end of the pipe: then the runner is gone. The script is
# waiting for the agent meanwhile, and only a signal that cannot be caught ends that at once.
# To open it for reading alone would wait for a runner that has gone already, and for ever; to open
# it for both waits for nobody, and once the writing end is closed again, it tells of that end.
exec 3<>"$pipes/stop" 4<"$pipes/stop"
exec 3>&-
( read -r _ <&4; kill -KILL $$ ) &
exec 4<&-

echo started >"$pipes/exit"
# In the foreground, since a shell makes its background commands ignore SIGINT, and so would
# everything the agent runs.
( trap - TERM; cd @WORKSPACE@ && exec "$@" ) <"$pipes/in" >"$pipes/out" 2>"$pipes/err"
echo "$?" >"$pipes/exit"
wait
