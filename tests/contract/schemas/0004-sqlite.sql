BEGIN TRANSACTION;
CREATE TABLE alembic_version (
	version_num VARCHAR(32) NOT NULL, 
	CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num)
);
INSERT INTO "alembic_version" VALUES('0004');
CREATE TABLE events (
	run_uid VARCHAR(64) NOT NULL, 
	seq BIGINT NOT NULL, 
	event_id VARCHAR(64) NOT NULL, 
	attempt INTEGER NOT NULL, 
	ts VARCHAR(32) NOT NULL, 
	session_uid VARCHAR(64) NOT NULL, 
	type VARCHAR(32) NOT NULL, 
	data TEXT NOT NULL, 
	PRIMARY KEY (run_uid, seq), 
	FOREIGN KEY(run_uid) REFERENCES runs (uid)
);
INSERT INTO "events" VALUES('u1',1,'e-1',1,'2026-11-23T12:00:00.000Z','s-1','run_started','{"text":"Message 1"}');
INSERT INTO "events" VALUES('u1',2,'e-2',1,'2026-11-23T12:00:00.000Z','s-1','agent_message','{"text":"\u00dcn\u00ef \ud83d\ude80 \u0000 text"}');
INSERT INTO "events" VALUES('u1',3,'e-3',1,'2026-11-23T12:00:00.000Z','s-1','run_completed','{"final_response":"Done."}');
INSERT INTO "events" VALUES('u1',4,'seal-u1',1,'2026-11-23T12:00:00.000Z','s-1','status_changed','{"status":"completed"}');
INSERT INTO "events" VALUES('u2',1,'e-1',2,'2026-11-23T12:00:00.000Z','s-1','agent_message','{"text":"Message 1"}');
INSERT INTO "events" VALUES('u2',2,'e-2',2,'2026-11-23T12:00:00.000Z','s-1','agent_message','{"text":"Message 2"}');
INSERT INTO "events" VALUES('u2',3,'e-3',2,'2026-11-23T12:00:00.000Z','s-1','agent_message','{"text":"Message 3"}');
INSERT INTO "events" VALUES('u2',4,'e-4',2,'2026-11-23T12:00:00.000Z','s-1','agent_message','{"text":"Message 4"}');
CREATE TABLE mailboxes (
	session_uid VARCHAR(64) NOT NULL, 
	last_seq BIGINT NOT NULL, 
	delivered_seq BIGINT NOT NULL, 
	bytes BIGINT NOT NULL, 
	PRIMARY KEY (session_uid)
);
INSERT INTO "mailboxes" VALUES('s-1',2,1,253);
CREATE TABLE messages (
	session_uid VARCHAR(64) NOT NULL, 
	seq BIGINT NOT NULL, 
	message_id VARCHAR(64) NOT NULL, 
	to_agent VARCHAR(253) NOT NULL, 
	from_session_uid VARCHAR(64), 
	from_agent VARCHAR(253), 
	created BIGINT NOT NULL, 
	body TEXT NOT NULL, 
	PRIMARY KEY (session_uid, seq), 
	CONSTRAINT messages_by_id UNIQUE (session_uid, message_id), 
	FOREIGN KEY(session_uid) REFERENCES mailboxes (session_uid)
);
INSERT INTO "messages" VALUES('s-1',1,'m-1','one','s-2','two',1795620098055432,'{"body":{"role":"agent","parts":[{"type":"text","text":"\u00dcn\u00ef \ud83d\ude80 \u0000 text"}]},"metadata":{"kind":"note","none":null}}');
INSERT INTO "messages" VALUES('s-1',2,'m-2','one',NULL,NULL,1795620098058648,'{"body":{"role":"agent","parts":[{"type":"text","text":"\u00dcn\u00ef \ud83d\ude80 \u0000 text"}]},"metadata":null}');
CREATE TABLE runs (
	uid VARCHAR(64) NOT NULL, 
	namespace VARCHAR(63) NOT NULL, 
	name VARCHAR(253) NOT NULL, 
	created BIGINT NOT NULL, 
	first_seen BIGINT NOT NULL, 
	phase VARCHAR(32) NOT NULL, 
	backend VARCHAR(32) NOT NULL, 
	cwd TEXT, 
	session_name VARCHAR(253) NOT NULL, 
	session_uid VARCHAR(64) NOT NULL, 
	document TEXT NOT NULL, 
	attempt INTEGER NOT NULL, 
	last_seq BIGINT NOT NULL, 
	sealed BOOLEAN NOT NULL, 
	journal_status VARCHAR(32), 
	summary TEXT NOT NULL, 
	updated BIGINT NOT NULL, 
	deleted BIGINT, parent_uid VARCHAR(256), 
	PRIMARY KEY (uid)
);
INSERT INTO "runs" VALUES('u1','team','one',1795435260,1795488109086219,'Completed','codex',NULL,'one','s-1','{"apiVersion":"agentrun.dev/v1alpha1","kind":"AgentRun","metadata":{"name":"one","namespace":"team","uid":"u1","resourceVersion":"7","generation":0,"creationTimestamp":"2026-11-23T12:01:00Z","labels":{},"annotations":{},"ownerReferences":[]},"spec":{"backend":"codex","role":"worker","prompt":"Fix it.","inputs":[],"desiredState":"Active"},"status":{"phase":"Completed","conditions":[]}}',1,4,1,'completed','Run completed',1795488109111037,NULL,'');
INSERT INTO "runs" VALUES('u2','team','two',1795435320,1795488109115993,'Running','codex',NULL,'two','s-1','{"apiVersion":"agentrun.dev/v1alpha1","kind":"AgentRun","metadata":{"name":"two","namespace":"team","uid":"u2","resourceVersion":"9","generation":0,"creationTimestamp":"2026-11-23T12:02:00Z","labels":{},"annotations":{},"ownerReferences":[]},"spec":{"parent":{"name":"one","uid":"u1","depth":1},"backend":"codex","role":"worker","prompt":"Fix it.","inputs":[],"desiredState":"Active"},"status":{"phase":"Running","conditions":[]}}',2,4,0,NULL,'Message 4',1795488109125203,NULL,'u1');
INSERT INTO "runs" VALUES('u3','team','three',1795435380,1795488109130844,'Queued','codex',NULL,'three','','{"apiVersion":"agentrun.dev/v1alpha1","kind":"AgentRun","metadata":{"name":"three","namespace":"team","uid":"u3","resourceVersion":"1","generation":0,"creationTimestamp":"2026-11-23T12:03:00Z","labels":{},"annotations":{},"ownerReferences":[]},"spec":{"backend":"codex","role":"worker","prompt":"Fix it.","inputs":[],"desiredState":"Active"},"status":{"conditions":[]}}',0,0,0,NULL,'',1795488109130844,NULL,'');
CREATE INDEX runs_by_name ON runs (namespace, name);
CREATE INDEX runs_by_age ON runs (created, name, uid);
CREATE INDEX runs_by_seal ON runs (sealed, created);
CREATE INDEX runs_by_parent ON runs (parent_uid, namespace);
CREATE INDEX runs_by_place ON runs (namespace, created, name, uid, phase, backend);
CREATE INDEX runs_by_session ON runs (namespace, session_name, created, name, uid, phase, backend);
CREATE INDEX runs_by_change ON runs (namespace, updated, session_name, uid);
CREATE INDEX runs_by_standing ON runs (namespace, session_name, session_uid, phase, updated, created, uid);
COMMIT;
