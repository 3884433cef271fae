CREATE TABLE public.alembic_version (
    version_num character varying(32) NOT NULL
);
CREATE TABLE public.events (
    run_uid character varying(64) NOT NULL COLLATE pg_catalog."C",
    seq bigint NOT NULL,
    event_id character varying(64) NOT NULL COLLATE pg_catalog."C",
    attempt integer NOT NULL,
    ts character varying(32) NOT NULL COLLATE pg_catalog."C",
    session_uid character varying(64) NOT NULL COLLATE pg_catalog."C",
    type character varying(32) NOT NULL COLLATE pg_catalog."C",
    data text NOT NULL
);
CREATE TABLE public.mailboxes (
    session_uid character varying(64) NOT NULL COLLATE pg_catalog."C",
    last_seq bigint NOT NULL,
    delivered_seq bigint NOT NULL,
    bytes bigint NOT NULL
);
CREATE TABLE public.messages (
    session_uid character varying(64) NOT NULL COLLATE pg_catalog."C",
    seq bigint NOT NULL,
    message_id character varying(64) NOT NULL COLLATE pg_catalog."C",
    to_agent character varying(253) NOT NULL COLLATE pg_catalog."C",
    from_session_uid character varying(64) COLLATE pg_catalog."C",
    from_agent character varying(253) COLLATE pg_catalog."C",
    created bigint NOT NULL,
    body text NOT NULL
);
CREATE TABLE public.runs (
    uid character varying(64) NOT NULL COLLATE pg_catalog."C",
    namespace character varying(63) NOT NULL COLLATE pg_catalog."C",
    name character varying(253) NOT NULL COLLATE pg_catalog."C",
    created bigint NOT NULL,
    first_seen bigint NOT NULL,
    phase character varying(32) NOT NULL COLLATE pg_catalog."C",
    backend character varying(32) NOT NULL COLLATE pg_catalog."C",
    cwd text,
    session_name character varying(253) NOT NULL COLLATE pg_catalog."C",
    session_uid character varying(64) NOT NULL COLLATE pg_catalog."C",
    document text NOT NULL,
    attempt integer NOT NULL,
    last_seq bigint NOT NULL,
    sealed boolean NOT NULL,
    journal_status character varying(32) COLLATE pg_catalog."C",
    summary text NOT NULL,
    updated bigint NOT NULL,
    deleted bigint,
    parent_uid character varying(256) COLLATE pg_catalog."C"
);
INSERT INTO public.alembic_version VALUES ('0004');
INSERT INTO public.events VALUES ('u1', 1, 'e-1', 1, '2026-11-23T12:00:00.000Z', 's-1', 'run_started', '{"text":"Message 1"}');
INSERT INTO public.events VALUES ('u1', 2, 'e-2', 1, '2026-11-23T12:00:00.000Z', 's-1', 'agent_message', '{"text":"\u00dcn\u00ef \ud83d\ude80 \u0000 text"}');
INSERT INTO public.events VALUES ('u1', 3, 'e-3', 1, '2026-11-23T12:00:00.000Z', 's-1', 'run_completed', '{"final_response":"Done."}');
INSERT INTO public.events VALUES ('u1', 4, 'seal-u1', 1, '2026-11-23T12:00:00.000Z', 's-1', 'status_changed', '{"status":"completed"}');
INSERT INTO public.events VALUES ('u2', 1, 'e-1', 2, '2026-11-23T12:00:00.000Z', 's-1', 'agent_message', '{"text":"Message 1"}');
INSERT INTO public.events VALUES ('u2', 2, 'e-2', 2, '2026-11-23T12:00:00.000Z', 's-1', 'agent_message', '{"text":"Message 2"}');
INSERT INTO public.events VALUES ('u2', 3, 'e-3', 2, '2026-11-23T12:00:00.000Z', 's-1', 'agent_message', '{"text":"Message 3"}');
INSERT INTO public.events VALUES ('u2', 4, 'e-4', 2, '2026-11-23T12:00:00.000Z', 's-1', 'agent_message', '{"text":"Message 4"}');
INSERT INTO public.mailboxes VALUES ('s-1', 2, 1, 253);
INSERT INTO public.messages VALUES ('s-1', 1, 'm-1', 'one', 's-2', 'two', 1795620103245954, '{"body":{"role":"agent","parts":[{"type":"text","text":"\u00dcn\u00ef \ud83d\ude80 \u0000 text"}]},"metadata":{"kind":"note","none":null}}');
INSERT INTO public.messages VALUES ('s-1', 2, 'm-2', 'one', NULL, NULL, 1795620103250121, '{"body":{"role":"agent","parts":[{"type":"text","text":"\u00dcn\u00ef \ud83d\ude80 \u0000 text"}]},"metadata":null}');
INSERT INTO public.runs VALUES ('u1', 'team', 'one', 1795435260, 1795488110667470, 'Completed', 'codex', NULL, 'one', 's-1', '{"apiVersion":"agentrun.dev/v1alpha1","kind":"AgentRun","metadata":{"name":"one","namespace":"team","uid":"u1","resourceVersion":"7","generation":0,"creationTimestamp":"2026-11-23T12:01:00Z","labels":{},"annotations":{},"ownerReferences":[]},"spec":{"backend":"codex","role":"worker","prompt":"Fix it.","inputs":[],"desiredState":"Active"},"status":{"phase":"Completed","conditions":[]}}', 1, 4, true, 'completed', 'Run completed', 1795488110692394, NULL, '');
INSERT INTO public.runs VALUES ('u2', 'team', 'two', 1795435320, 1795488110697075, 'Running', 'codex', NULL, 'two', 's-1', '{"apiVersion":"agentrun.dev/v1alpha1","kind":"AgentRun","metadata":{"name":"two","namespace":"team","uid":"u2","resourceVersion":"9","generation":0,"creationTimestamp":"2026-11-23T12:02:00Z","labels":{},"annotations":{},"ownerReferences":[]},"spec":{"parent":{"name":"one","uid":"u1","depth":1},"backend":"codex","role":"worker","prompt":"Fix it.","inputs":[],"desiredState":"Active"},"status":{"phase":"Running","conditions":[]}}', 2, 4, false, NULL, 'Message 4', 1795488110700875, NULL, 'u1');
INSERT INTO public.runs VALUES ('u3', 'team', 'three', 1795435380, 1795488110704479, 'Queued', 'codex', NULL, 'three', '', '{"apiVersion":"agentrun.dev/v1alpha1","kind":"AgentRun","metadata":{"name":"three","namespace":"team","uid":"u3","resourceVersion":"1","generation":0,"creationTimestamp":"2026-11-23T12:03:00Z","labels":{},"annotations":{},"ownerReferences":[]},"spec":{"backend":"codex","role":"worker","prompt":"Fix it.","inputs":[],"desiredState":"Active"},"status":{"conditions":[]}}', 0, 0, false, NULL, '', 1795488110704479, NULL, '');
ALTER TABLE ONLY public.alembic_version
    ADD CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num);
ALTER TABLE ONLY public.events
    ADD CONSTRAINT events_pkey PRIMARY KEY (run_uid, seq);
ALTER TABLE ONLY public.mailboxes
    ADD CONSTRAINT mailboxes_pkey PRIMARY KEY (session_uid);
ALTER TABLE ONLY public.messages
    ADD CONSTRAINT messages_by_id UNIQUE (session_uid, message_id);
ALTER TABLE ONLY public.messages
    ADD CONSTRAINT messages_pkey PRIMARY KEY (session_uid, seq);
ALTER TABLE ONLY public.runs
    ADD CONSTRAINT runs_pkey PRIMARY KEY (uid);
CREATE INDEX runs_by_age ON public.runs USING btree (created, name, uid);
CREATE INDEX runs_by_change ON public.runs USING btree (namespace, updated, session_name, uid);
CREATE INDEX runs_by_name ON public.runs USING btree (namespace, name);
CREATE INDEX runs_by_parent ON public.runs USING btree (parent_uid, namespace);
CREATE INDEX runs_by_place ON public.runs USING btree (namespace, created, name, uid, phase, backend);
CREATE INDEX runs_by_seal ON public.runs USING btree (sealed, created);
CREATE INDEX runs_by_session ON public.runs USING btree (namespace, session_name, created, name, uid, phase, backend);
CREATE INDEX runs_by_standing ON public.runs USING btree (namespace, session_name, session_uid, phase, updated, created, uid);
ALTER TABLE ONLY public.events
    ADD CONSTRAINT events_run_uid_fkey FOREIGN KEY (run_uid) REFERENCES public.runs(uid);
ALTER TABLE ONLY public.messages
    ADD CONSTRAINT messages_session_uid_fkey FOREIGN KEY (session_uid) REFERENCES public.mailboxes(session_uid);
