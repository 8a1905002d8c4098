package main

import (
	"time"

	"github.com/coreos/go-systemd/v22/daemon"
)

// notify tells systemd, if that started the process, how it is. What comes of it changes nothing.
func notify(state string) { _, _ = daemon.SdNotify(false, state) }

// watchdog ticks when systemd wants to hear that the process lives: never, unless the unit has WatchdogSec.
func watchdog() (tick <-chan time.Time, stop func()) {
	every, err := daemon.SdWatchdogEnabled(false)
	if err != nil || every <= 0 {
		return nil, func() {}
	}
	ticker := time.NewTicker(every / 3)
	return ticker.C, ticker.Stop
}

// ping tells systemd that the process lives: its main loop runs, and the database answers. If the disk does not, there is no
// ping, and systemd starts the process again.
func (s *server) ping() {
	defer s.pinging.Store(false)
	if _, err := s.eng.Admin().Plans(); err == nil {
		notify(daemon.SdNotifyWatchdog)
	}
}
