package controller_test

import (
	"encoding/base64"
	"time"
)

// startOfTime is the time of files whose age does not matter.
var startOfTime = time.Unix(1345678901, 0)

func basic(user, password string) string {
	return "Basic " + base64.StdEncoding.EncodeToString([]byte(user+":"+password))
}
