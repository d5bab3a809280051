package store_test

import (
	"errors"
	"testing"

	"cloudlet/store"
)

// Deleting an offering, an instance or an app takes along what hangs on it, and nothing else.
func TestServicesCascade(t *testing.T) {
	st, err := store.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { st.Close() })
	redis, mysql := &store.Offering{Label: "redis-2.2"}, &store.Offering{Label: "mysql-5.1", Provider: "acme"}
	cache, db := &store.Service{Owner: "a", Alias: "x", Label: "redis-2.2", Handle: "h1"}, &store.Service{Owner: "b", Alias: "x", Label: "mysql-5.1", Provider: "acme", Handle: "h2"}
	app, other := &store.App{Owner: "a", Name: "one"}, &store.App{Owner: "a", Name: "two"}
	err = st.Update(func(tx *store.Tx) error {
		err := errors.Join(tx.PutOffering(redis), tx.PutOffering(mysql), tx.PutService(cache), tx.PutService(db), tx.PutApp(app), tx.PutApp(other))
		for i, b := range []store.Binding{{Service: cache.ID, App: app.ID}, {Service: db.ID, App: app.ID}, {Service: db.ID, App: other.ID}} {
			b.Token = string(rune('p' + i))
			err = errors.Join(err, tx.PutBinding(&b), tx.PutBindingToken(&store.BindingToken{ID: b.Token, Service: b.Service}))
		}
		return errors.Join(err, tx.PutBindingToken(&store.BindingToken{ID: "unused", Service: cache.ID}))
	})
	if err != nil {
		t.Fatal(err)
	}
	again := &store.Service{Owner: "a", Alias: "x"}
	if err := st.Update(func(tx *store.Tx) error { return tx.PutService(again) }); !errors.Is(err, store.ErrAliasTaken) {
		t.Errorf("a name twice: %v", err)
	}
	for _, step := range []struct {
		name     string
		do       func(*store.Tx) error
		bindings int // of both apps
		tokens   string
	}{
		{"nothing", func(*store.Tx) error { return nil }, 3, "pqr unused"},
		{"offering", func(tx *store.Tx) error { return tx.DeleteOffering("redis-2.2", "") }, 2, "qr"},
		{"app", func(tx *store.Tx) error { return tx.DeleteApp(app.ID) }, 1, "r"},
		{"token", func(tx *store.Tx) error { return tx.DropBindingToken("r") }, 0, ""},
		{"instance", func(tx *store.Tx) error { return tx.DeleteService(db) }, 0, ""},
	} {
		if err := st.Update(step.do); err != nil {
			t.Fatalf("%s: %v", step.name, err)
		}
		err := st.View(func(tx *store.Tx) error {
			one, err1 := tx.BindingsOf(app.ID)
			two, err2 := tx.BindingsOf(other.ID)
			tokens := ""
			for _, id := range []string{"p", "q", "r", "unused"} {
				if _, err := tx.BindingToken(id); err == nil {
					if id == "unused" {
						id = " unused"
					}
					tokens += id
				}
			}
			if len(one)+len(two) != step.bindings || tokens != step.tokens {
				t.Errorf("%s: %d bindings, tokens %q", step.name, len(one)+len(two), tokens)
			}
			return errors.Join(err1, err2)
		})
		if err != nil {
			t.Error(err)
		}
	}
	err = st.View(func(tx *store.Tx) error {
		if _, err := tx.ServiceNamed("b", "x"); !errors.Is(err, store.ErrNoService) {
			t.Errorf("a deleted instance: %v", err)
		}
		if _, err := tx.ServiceHandled("h1"); !errors.Is(err, store.ErrNoService) {
			t.Errorf("an instance of a deleted offering: %v", err)
		}
		_, err := tx.Offering("mysql-5.1", "acme")
		return err
	})
	if err != nil {
		t.Error(err)
	}
	if err := st.Check(); err != nil {
		t.Error(err)
	}
}

func TestOfferingNames(t *testing.T) {
	for label, want := range map[string][2]string{"redis-2.2": {"redis", "2.2"}, "big-data-1.0": {"big-data", "1.0"}, "plain": {"plain", ""}} {
		o := store.Offering{Label: label}
		if o.Name() != want[0] || o.Version() != want[1] {
			t.Errorf("%s: %q, %q", label, o.Name(), o.Version())
		}
	}
}
