-- What a message needs of a relational database: the same records, indexes and counters as in Tuco.

CREATE TABLE workspace (
	id                   int PRIMARY KEY,
	key_digest           bytea NOT NULL UNIQUE,
	messages_per_day     bigint NOT NULL,
	messages_per_month   bigint NOT NULL
);

CREATE TABLE line (
	id                   int PRIMARY KEY,
	workspace            int NOT NULL REFERENCES workspace,
	phone                text NOT NULL,
	daily_messages       bigint NOT NULL
);

CREATE TABLE plan_day   (workspace int, day date, used bigint NOT NULL, PRIMARY KEY (workspace, day));
CREATE TABLE plan_month (workspace int, month date, used bigint NOT NULL, PRIMARY KEY (workspace, month));
CREATE TABLE line_day   (line int, day date, used bigint NOT NULL, PRIMARY KEY (line, day));

CREATE TABLE lead (
	id                   bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
	workspace            int NOT NULL,
	phone                text NOT NULL,
	name                 text NOT NULL,
	created              timestamptz NOT NULL DEFAULT now(),
	UNIQUE (workspace, phone)
);

CREATE TABLE message (
	id                   bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
	workspace            int NOT NULL,
	lead                 bigint NOT NULL,
	line                 int NOT NULL,
	status               text NOT NULL DEFAULT 'pending',
	type                 text NOT NULL,
	text                 text NOT NULL,
	phone                text NOT NULL,
	name                 text NOT NULL,
	batch                text NOT NULL,
	owner                text NOT NULL,
	created              timestamptz NOT NULL DEFAULT now(),
	updated              timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX ON message (workspace, created);
CREATE INDEX ON message (lead, created);
CREATE INDEX ON message (workspace, batch, created);
CREATE INDEX ON message (line, created) WHERE status = 'pending';
