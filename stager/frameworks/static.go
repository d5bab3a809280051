package frameworks

import (
	"fmt"

	"cloudlet/stager"
)

// stageStatic serves the folder by the Cloudlet binary itself, inside the container.
func stageStatic(t *stager.Task) (stager.Launch, error) {
	for _, dir := range []string{".", "public", "dist", "build", "_site"} {
		if t.Exists(dir + "/index.html") {
			return stager.Launch{Command: fmt.Sprintf("exec %%VCAP_LOCAL_RUNTIME%% serve-files %s $@", dir)}, nil
		}
	}
	return stager.Launch{}, fmt.Errorf("there is no index.html in the folder, nor in public, dist, build or _site below it")
}
