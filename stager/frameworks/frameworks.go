// Package frameworks holds the staging plugins, one file each.
//
// Protocol: each is a stager.Framework: an entry of the catalogue, and a function that
// says how an app is prepared and started.
// State: none.
// Source: the plugins of vcap-staging, with what today's runtimes need.
package frameworks

import "cloudlet/stager"

// All are the frameworks of this build, in the order in which they are shown.
func All() []stager.Framework {
	return []stager.Framework{node, standalone}
}
