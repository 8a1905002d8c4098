-- One statement, so one round trip and one commit. $1 workspace, $2 phone, $3 name, $4 type, $5 text, $6 batch, $7 owner.
-- A counter at its limit gives no row. Then the message's workspace is null, which it can't be, and nothing is done.
WITH w AS (
	SELECT w.id, w.messages_per_day, w.messages_per_month, l.id AS line, l.daily_messages
	FROM workspace w JOIN line l ON l.workspace = w.id WHERE w.id = $1 LIMIT 1
), day AS (
	INSERT INTO plan_day AS d SELECT id, current_date, 1 FROM w
	ON CONFLICT (workspace, day) DO UPDATE SET used = d.used + 1 WHERE d.used < (SELECT messages_per_day FROM w)
	RETURNING workspace
), month AS (
	INSERT INTO plan_month AS m SELECT id, date_trunc('month', current_date), 1 FROM w
	ON CONFLICT (workspace, month) DO UPDATE SET used = m.used + 1 WHERE m.used < (SELECT messages_per_month FROM w)
	RETURNING workspace
), line AS (
	INSERT INTO line_day AS l SELECT w.line, current_date, 1 FROM w
	ON CONFLICT (line, day) DO UPDATE SET used = l.used + 1 WHERE l.used < (SELECT daily_messages FROM w)
	RETURNING line
), known AS (
	SELECT id FROM lead WHERE workspace = $1 AND phone = $2
), made AS (
	INSERT INTO lead (workspace, phone, name) SELECT $1, $2, $3 WHERE NOT EXISTS (SELECT FROM known)
	ON CONFLICT (workspace, phone) DO UPDATE SET name = lead.name
	RETURNING id
), person AS (
	SELECT id FROM known UNION ALL SELECT id FROM made
)
INSERT INTO message (workspace, lead, line, type, text, phone, name, batch, owner)
SELECT (SELECT day.workspace FROM day, month), person.id, (SELECT line FROM line), $4, $5, $2, $3, $6, $7 FROM person
RETURNING id, lead, line, created
