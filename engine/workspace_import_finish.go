package engine

import (
	"strconv"

	"tuco/engine/auditlog"
	"tuco/engine/quota"
	"tuco/kv"
)

// finish makes the workspace one, in one transaction.
func (x *importer) finish() error {
	_, err := kv.Update(x.e.db, func(tx *kv.Tx) (struct{}, error) {
		made, err := x.plan(tx)
		if err != nil {
			return struct{}{}, err
		}
		if made != nil {
			plans.Put(tx, []byte(made.Name), *made)
			if err := x.e.record(tx, auditlog.Entry{Event: "plan.changed", Actor: operatorActor, Kind: "plan", Object: made.Name, Detail: made.detail()}); err != nil {
				return struct{}{}, err
			}
		}
		if err := x.settle(tx); err != nil {
			return struct{}{}, err
		}
		id := x.done.ID
		policies.Put(tx, []byte(id), x.record.Policy)
		for _, a := range x.agreements {
			a.ID, a.Workspace = AgreementID(newSystemID(tx, "agreement")), id
			agreements.Put(tx, agreementKey(id, a.ID), a)
		}
		imports.Delete(tx, []byte(id))
		importMark(id).Delete(tx, importMarkKey)
		workspaces.Put(tx, []byte(id), x.done.Workspace)
		return struct{}{}, x.e.record(tx, x.entry())
	})
	return err
}

// settle carries over what was used, and lets new ids begin above those that were imported.
func (x *importer) settle(tx *kv.Tx) error {
	r := &restorer{e: x.e, r: Restore{Complete: true}, now: x.now}
	counted := map[pool]*tally{contracted: newTally(), trial: newTally()}
	for _, env := range x.envs {
		if err := env.checkLineDays(tx); err != nil {
			return err
		}
		r.lineUsage(tx, env.environment, env.tally)
		counted[env.name.pool()].join(env.tally)
		if env.highest != (kv.ID{}) {
			tx.SkipIDs(env.tag, env.highest)
		}
	}
	used := map[pool]PlanUsage{}
	for _, u := range x.usage {
		used[u.Pool] = u.PlanUsage
		usageBucket(x.done.ID).Put(tx, []byte(u.Pool), u.PlanUsage)
	}
	for p, c := range counted {
		for _, days := range []map[quota.Label]int64{c.messages, c.contacts} {
			for day := range days {
				if day > used[p].Day {
					return Errorf(Invalid, "Messages of the export carry the day %s, after its last one, %s. Nothing was imported", day, used[p].Day).With(CodeDamaged)
				}
			}
		}
		r.planUsage(tx, x.tenant, p, c)
	}
	return nil
}

// join adds what another tally has of the plan.
func (t *tally) join(other *tally) {
	for day, n := range other.messages {
		t.messages[day] += n
	}
	for day, n := range other.contacts {
		t.contacts[day] += n
	}
}

// entry records where the workspace comes from, and which tags became which: with that ids can be told without the file.
func (x *importer) entry() auditlog.Entry {
	detail := map[string]string{
		"sourceInstallation": x.in.Installation, "sourceWorkspace": string(x.record.ID), "payload": x.in.SHA256, "plan": x.done.Plan, "timezone": x.done.Timezone,
		"readOnlyBefore": string(x.record.ReadOnly), "unknownMessages": strconv.Itoa(x.done.Unknown),
	}
	for _, env := range Environments {
		detail["tag."+string(env)] = x.record.Tags[env] + " " + x.done.Tags[env]
	}
	records := int64(0)
	for kind, n := range x.done.Records {
		detail["records."+kind] = strconv.FormatInt(n, 10)
		records += n
	}
	return auditlog.Entry{Event: "workspace.imported", Actor: operatorActor, Workspace: string(x.done.ID), Kind: "backup", Object: x.in.Object, Records: records, Detail: detail}
}
