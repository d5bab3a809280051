package controller

import (
	_ "embed"
	"encoding/json"
	"net/http"
	"sync"

	"github.com/labstack/echo/v4"
	"go.yaml.in/yaml/v3"
)

// description of the API, for people; a test holds it against the routes.
//
//go:embed openapi.yaml
var description []byte

// describedJSON is the description for programs.
var describedJSON = sync.OnceValues(func() ([]byte, error) {
	var doc map[string]any
	if err := yaml.Unmarshal(description, &doc); err != nil {
		return nil, err
	}
	return json.Marshal(doc)
})

func openapi(e echo.Context) error {
	doc, err := describedJSON()
	if err != nil {
		return err
	}
	return write(e, http.StatusOK, jsonType, doc)
}
