package engine

// Warnings are what an operator should look at. They name no workspace.
func (e *Engine) Warnings() []string {
	warnings := []string{}
	if e.StorageLow() {
		warnings = append(warnings, "The disk is nearly full: every workspace is in read-only mode until space is freed.")
	}
	if e.ClockHeld() {
		warnings = append(warnings, "The clock jumped ahead: no new day is opened until it is accepted (tuco clock accept) or time has caught up.")
	}
	if err := e.AuditTrouble(); err != nil {
		warnings = append(warnings, "Staff access is refused: "+err.Error()+".")
	}
	return append(warnings, e.forwardWarnings()...)
}

// ReadOnlyWorkspaces counts the workspaces that take no writes.
func (e *Engine) ReadOnlyWorkspaces() (n int) {
	for _, t := range e.allTenants() {
		if e.readOnly(t) != "" {
			n++
		}
	}
	return n
}
