// Pause holds a pod's namespaces open until it is told to stop: the sandbox image of a cluster
// that has no registry to pull the usual one from.
package main

import (
	"os"
	"os/signal"
	"syscall"
)

func main() {
	// Process 1 ignores signals it has no handler for, so each pod would otherwise take its whole
	// grace period to end.
	asked := make(chan os.Signal, 1)
	signal.Notify(asked, syscall.SIGINT, syscall.SIGTERM)
	<-asked
}
