package httpapi

import (
	"strings"

	"tuco/engine"
)

type forgetRequest struct {
	inWorkspace
	Phone string `json:"phone,omitzero" description:"of the person; this or email"`
	Email string `json:"email,omitzero" description:"of the person; this or phone"`
}

type forgetResponse struct {
	Forgotten int64 `json:"forgotten" description:"how many environments had something to forget; 0: no look of staff had the person on the page, or that was forgotten before"`
}

// forgetPerson serves POST /api/staff-access/forget.
func (s *Server) forgetPerson(c *call, in forgetRequest) (reply, error) {
	address, err := oneAddress(in.Phone, in.Email)
	if err != nil {
		return reply{}, err
	}
	n, err := s.eng.ForgetSightings(c.who, address)
	if err != nil {
		return reply{}, err
	}
	return ok(forgetResponse{int64(n)})
}

// oneAddress returns the one of phone and email that is given.
func oneAddress(phone, email string) (string, error) {
	if (phone == "") == (email == "") {
		return "", engine.Errorf(engine.Invalid, "Give either phone or email")
	}
	if strings.Contains(phone, "@") || email != "" && !strings.Contains(email, "@") {
		return "", engine.Errorf(engine.Invalid, "Not a valid phone number or e-mail address").With(engine.CodeInvalidAddress)
	}
	return phone + email, nil
}
