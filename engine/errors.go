package engine

import (
	"errors"
	"fmt"
	"time"

	"tuco/kv"
)

// Kind is what sort of answer an error is.
type Kind uint8

// The kinds of error. Internal is the zero value: a fault of the program or of the machine.
const (
	Internal      Kind = iota
	Invalid            // the request itself is wrong
	Unauthorized       // no credential, or none that is accepted
	ReadOnly           // the workspace takes no writes
	Forbidden          // the credential does not cover this
	NotFound           // no such thing in this workspace and environment
	Conflict           // does not fit the present state
	TooLarge           // more than is taken in one request
	Unsupported        // of a media type or version that is not taken
	Mismatch           // an idempotency key was used for another request
	QuotaExceeded      // over a limit; nothing was stored
	Unavailable        // not now
	Unknown            // it may or may not have happened
	NumKinds           // how many there are
)

// Codes are stable words for programs, beyond those that Tuco documents (READ_ONLY, FALLBACK_NOT_CONFIGURED).
const (
	CodeReadOnly             = "READ_ONLY"
	CodeFallbackMissing      = "FALLBACK_NOT_CONFIGURED"
	CodePlanLimit            = "PLAN_LIMIT_REACHED"
	CodeRateLimit            = "RATE_LIMITED"
	CodeInsufficientScope    = "INSUFFICIENT_SCOPE"
	CodeWrongWorkspace       = "WRONG_WORKSPACE"
	CodeTokenNotAccepted     = "TOKEN_NOT_ACCEPTED"
	CodeAddressNotAllowed    = "ADDRESS_NOT_ALLOWED"
	CodeOutcomeUnknown       = "OUTCOME_UNKNOWN"
	CodeIdempotencyMismatch  = "IDEMPOTENCY_KEY_REUSED"
	CodeListNotEmpty         = "LIST_NOT_EMPTY"
	CodeDuplicateLead        = "DUPLICATE_LEAD"
	CodeLineExists           = "LINE_EXISTS"
	CodeNameTaken            = "NAME_TAKEN"
	CodeTransportNotAllowed  = "TRANSPORT_NOT_ALLOWED"
	CodeNoTransport          = "NO_TRANSPORT"
	CodeInvalidAddress       = "INVALID_ADDRESS"
	CodeWiderKey             = "WIDER_KEY"
	CodeTooMany              = "TOO_MANY"
	CodeTemporarilyExhausted = "BUSY"
	CodeNoRoom               = "NO_ROOM"
	CodeOverrun              = "WRITES_TOO_FAST"
)

// Error is an error meant for the caller: Msg is safe to show, Err goes to the log only.
type Error struct {
	Kind       Kind
	Code       string // stable word for programs; mostly empty
	Msg        string
	Reason     string        // why, as a word: of READ_ONLY
	Scope      Scope         // the missing one, of CodeInsufficientScope
	Limit      *LimitState   // the one that was reached, of QuotaExceeded
	Limits     []LimitState  // all that the request touched
	RetryAfter time.Duration // zero if trying again won't help
	Err        error
}

func (e *Error) Error() string {
	if e.Err != nil {
		return e.Msg + ": " + e.Err.Error()
	}
	return e.Msg
}

func (e *Error) Unwrap() error { return e.Err }

// Errorf makes an error of the given kind whose text is safe to show.
func Errorf(kind Kind, format string, args ...any) *Error {
	return &Error{Kind: kind, Msg: fmt.Sprintf(format, args...)}
}

// With adds a code.
func (e *Error) With(code string) *Error {
	e.Code = code
	return e
}

// isKind tells whether err is an [Error] of a kind.
func isKind(err error, kind Kind) bool {
	e := (*Error)(nil)
	return errors.As(err, &e) && e.Kind == kind
}

// storageError turns what the store says into what the caller should do.
func storageError(err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, kv.ErrNoRoom):
		denied := readOnlyError(ReadOnlyStorage)
		denied.Err = err
		return denied
	case errors.Is(err, kv.ErrUnknown):
		return &Error{Kind: Unknown, Code: CodeOutcomeUnknown, RetryAfter: 5 * time.Second, Err: err,
			Msg: "The outcome of this request is not known. Repeat it with the same Idempotency-Key."}
	case errors.Is(err, kv.ErrStopped):
		return &Error{Kind: Unavailable, RetryAfter: 5 * time.Second, Err: err, Msg: "The server is stopping. Nothing was done; try again."}
	}
	return err
}
