package transport

import (
	"context"
	"slices"
	"strings"
)

// sandbox sends nothing anywhere. The recipient's address alone decides the outcome, so it can always reconcile.
type sandbox struct{}

func (sandbox) Send(ctx context.Context, m Message, handOver func() error) (Result, error) {
	if err := ctx.Err(); err != nil {
		return Result{}, err
	}
	if err := handOver(); err != nil {
		return Result{}, err
	}
	return sandboxResult(m), nil
}

func (sandbox) Reconcile(ctx context.Context, m Message) (Result, error) {
	return sandboxResult(m), ctx.Err()
}

func (sandbox) Check(ctx context.Context) error { return ctx.Err() }

func (sandbox) Close() error { return nil }

// sandboxResult tries the addresses in order, as an iMessage client does: the first that isn't a fallback one decides.
func sandboxResult(m Message) Result {
	if len(m.To) == 0 {
		return Result{Outcome: Failed, Detail: "no address to send to"}
	}
	for _, addr := range m.To {
		switch strings.ToLower(addr) {
		case "+15005550002", "fallback@example.com":
			continue
		case "+15005550001", "failed@example.com":
			return Result{Outcome: Failed, Detail: "the sandbox always fails " + addr}
		}
		return Result{Outcome: Delivered, ExternalID: "sandbox-" + m.ID}
	}
	return Result{
		Outcome: Fallback,
		Detail:  "Prospect's iMessage not available on " + strings.Join(m.To, ", "),
		Checked: slices.Clone(m.To),
	}
}
