package main

// logLevelCommand shows or changes the log of a running server, until that ends.
type logLevelCommand struct {
	adminFlags
	Level  string `arg:"" optional:"" help:"debug, info, warn or error; without it nothing changes." enum:"debug,info,warn,error," default:""`
	Format string `help:"json, or console for people." enum:"json,console," default:""`
}

func (c *logLevelCommand) Run(out *output) error {
	return c.call(out, "log", logInput{c.Level, c.Format})
}
