// Kindconfig checks a cluster configuration with kind's own strict loader, on a machine that
// need not have a container engine.
package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"

	"sigs.k8s.io/kind/pkg/cluster"
)

// missing cannot exist: a NUL ends every file name.
const missing = "\x00"

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: kindconfig FILE")
		os.Exit(2)
	}
	if _, err := os.Stat(os.Args[1]); err != nil {
		fail(err)
	}
	// kind keeps its loader internal, and loads in the order of the options before it looks for an
	// engine. A second file that cannot be opened ends Create right after the first was accepted.
	err := cluster.NewProvider(cluster.ProviderWithDocker()).Create(
		"check", cluster.CreateWithConfigFile(os.Args[1]), cluster.CreateWithConfigFile(missing))
	var path *fs.PathError
	if !errors.As(err, &path) || path.Path != missing {
		fail(err)
	}
	fmt.Println(os.Args[1], "is a valid kind configuration")
}

func fail(err error) {
	fmt.Fprintln(os.Stderr, err)
	os.Exit(1)
}
