package engine

import (
	"time"

	"tuco/engine/quota"
	"tuco/kv"
)

// What was used, and no message stands for: after a restore the messages that used it may be lost, or it is not known
// whether there were any. It counts under its labels as long as these are open.

func restoredUsage(w WorkspaceID) kv.Bucket[PlanUsage] { // by pool
	return kv.Bucket[PlanUsage]{Path: w.path().Join("usage.restored"), Codec: planUsageCodec}
}

func (env *environment) restoredLines() kv.Bucket[LineUsage] { // by the line's identity
	return kv.Bucket[LineUsage]{Path: env.path().Join("lines.restored"), Codec: lineUsageCodec}
}

// under is what counts of the restored usage r under the labels of u's day and month.
func (u PlanUsage) under(r PlanUsage) (extra PlanUsage) {
	if r.Day == u.Day {
		extra.Messages, extra.Contacts = r.Messages, r.Contacts
	}
	if r.Day.Month() == u.Day.Month() {
		extra.Month = r.Month
	}
	return extra
}

// usage raises what a workspace has used to what it may have used since, and notes how much of that no message stands for.
func (x *restorer) usage(t *tenant) error {
	_, err := kv.UpdateCritical(x.e.db, func(tx *kv.Tx) (struct{}, error) {
		counted := map[pool]*tally{contracted: newTally(), trial: newTally()}
		for _, env := range t.envs {
			own := newTally()
			for _, m := range env.store.messages.Scan(tx, kv.Range{}) {
				own.add(&m)
				counted[env.name.pool()].add(&m)
			}
			x.lineUsage(tx, env, own)
		}
		for p, c := range counted {
			x.planUsage(tx, t, p, c)
		}
		return struct{}{}, nil
	})
	return err
}

func (x *restorer) planUsage(tx *kv.Tx, t *tenant, p pool, counted *tally) {
	u, _ := usageBucket(t.id).Get(tx, []byte(p))
	if !x.r.Complete {
		u = usedSince(u, *t.plan.Load(), quota.DayOf(x.now, t.zone.Load()), t.zone.Load())
	}
	if u.Day == 0 { // of a workspace that was deleted since
		u.Day = counted.newest()
	}
	if u.Day == 0 {
		return
	}
	n := counted.plan(u)
	u.Messages, u.Month, u.Contacts = max(u.Messages, n.Messages), max(u.Month, n.Month), max(u.Contacts, n.Contacts)
	usageBucket(t.id).Put(tx, []byte(p), u)
	restoredUsage(t.id).Put(tx, []byte(p), PlanUsage{u.Day, u.Messages - n.Messages, u.Month - n.Month, u.Contacts - n.Contacts})
}

// usedSince is the usage u after everything that the plan allows was used from then on until today ends.
func usedSince(u PlanUsage, p Plan, today quota.Label, zone *time.Location) PlanUsage {
	month := u.Month
	if today.Month() != u.Day.Month() {
		month = 0
	}
	for d := today; d.Month() == today.Month() && d >= u.Day; d = quota.DayOf(d.Start(zone).Add(-time.Hour), zone) {
		if month += p.MessagesPerDay; d == u.Day {
			month -= min(u.Messages, p.MessagesPerDay)
		}
	}
	if p.MessagesPerMonth > 0 {
		if p.MessagesPerDay == 0 || month > p.MessagesPerMonth {
			month = max(u.Month, p.MessagesPerMonth)
		}
	}
	used := PlanUsage{Day: max(today, u.Day), Messages: p.MessagesPerDay, Month: month, Contacts: p.NewContactsPerDay}
	if used.Day == u.Day {
		used.Messages, used.Contacts = max(used.Messages, u.Messages), max(used.Contacts, u.Contacts)
	}
	return used
}

// newest is the last day that a message carries.
func (t *tally) newest() (day quota.Label) {
	for d := range t.messages {
		day = max(day, d)
	}
	return day
}

func (x *restorer) lineUsage(tx *kv.Tx, env *environment, own *tally) {
	counted, today := own.byIdentity(tx, env), quota.DayOf(x.now, time.UTC)
	limits := map[string]Line{}
	for _, l := range env.store.lines.Scan(tx, kv.Range{}) {
		limits[l.identity()] = l
	}
	identities := map[string]LineUsage{}
	for identity, u := range env.store.lineUsage.Scan(tx, kv.Range{}) {
		identities[string(identity)] = u
	}
	for identity := range limits {
		if _, ok := identities[identity]; !ok {
			identities[identity] = LineUsage{}
		}
	}
	for identity, u := range identities {
		if l, ok := limits[identity]; ok && !x.r.Complete {
			if u.Day < today {
				u.Day, u.Messages, u.Conversations = today, 0, 0
			}
			u.Messages, u.Conversations = max(u.Messages, l.DailyMessages), max(u.Conversations, l.DailyNew)
			u.LastSend, u.LastFirst = x.now, x.now
		}
		for day := range counted[identity] {
			u.Day = max(u.Day, day)
		}
		if u.Day == 0 {
			continue
		}
		n := counted[identity][u.Day]
		u.Messages, u.Conversations = max(u.Messages, n.First), max(u.Conversations, n.Second)
		env.store.lineUsage.Put(tx, []byte(identity), u)
		env.restoredLines().Put(tx, []byte(identity), LineUsage{Day: u.Day, Messages: u.Messages - n.First, Conversations: u.Conversations - n.Second})
	}
}
