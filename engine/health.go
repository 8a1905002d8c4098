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
	if e.audit.missing > 0 {
		warnings = append(warnings, "An anchor of the audit log was missing at the start. If it is new, this goes with the next start. "+
			"If not, find out where it went and compare the log with a checkpoint kept elsewhere: its end may have been cut off unnoticed.")
	}
	if advice := e.CompactAdvice(); advice != "" {
		warnings = append(warnings, advice)
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
