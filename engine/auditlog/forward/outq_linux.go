package forward

import (
	"time"

	"golang.org/x/sys/unix"
)

// settle is how long a connection must stay good after the peer's TCP acknowledged what it carried.
const settle = 3 * time.Second

// unacknowledged returns how many bytes of a socket the peer's TCP has not acknowledged.
func unacknowledged(fd int) (int, error) { return unix.IoctlGetInt(fd, unix.SIOCOUTQ) }
