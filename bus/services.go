package bus

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
)

// ServiceBus is the name under which a service's gateway and nodes meet: "RaaS" for
// redis, "MyaaS" for mysql. Its methods are the subjects; those with a node's id are
// heard by that node alone.
type ServiceBus string

func (s ServiceBus) subject(op string) string        { return string(s) + "." + op }
func (s ServiceBus) nodeSubject(op, n string) string { return s.subject(op) + "." + n }

// Announce tells every 30 s what a node can take.
func (s ServiceBus) Announce() Subject[Announcement] {
	return Subject[Announcement](s.subject("announce"))
}

// Discover asks the nodes to announce themselves: to the inbox of whoever asks for
// replies, otherwise on Announce.
func (s ServiceBus) Discover() Request[DiscoverNodes, Announcement] {
	return Request[DiscoverNodes, Announcement](s.subject("discover"))
}

// Provision makes a service instance.
func (s ServiceBus) Provision(node string) Request[Provision, ServiceReply] {
	return Request[Provision, ServiceReply](s.nodeSubject("provision", node))
}

// Unprovision removes a service instance and its bindings.
func (s ServiceBus) Unprovision(node string) Request[Unprovision, ServiceReply] {
	return Request[Unprovision, ServiceReply](s.nodeSubject("unprovision", node))
}

// Bind gives an application credentials of its own.
func (s ServiceBus) Bind(node string) Request[Bind, ServiceReply] {
	return Request[Bind, ServiceReply](s.nodeSubject("bind", node))
}

// Unbind takes credentials back.
func (s ServiceBus) Unbind(node string) Request[Unbind, ServiceReply] {
	return Request[Unbind, ServiceReply](s.nodeSubject("unbind", node))
}

// Restore replaces an instance's data by a backup.
func (s ServiceBus) Restore(node string) Request[Restore, ServiceReply] {
	return Request[Restore, ServiceReply](s.nodeSubject("restore", node))
}

// DisableInstance closes an instance that is about to move, and dumps its data.
func (s ServiceBus) DisableInstance(node string) Request[InstanceHandles, ServiceReply] {
	return Request[InstanceHandles, ServiceReply](s.nodeSubject("disable_instance", node))
}

// EnableInstance opens an instance that did not move after all.
func (s ServiceBus) EnableInstance(node string) Request[InstanceHandles, ServiceReply] {
	return Request[InstanceHandles, ServiceReply](s.nodeSubject("enable_instance", node))
}

// ImportInstance takes in the data of an instance that moves here.
func (s ServiceBus) ImportInstance(node string) Request[InstanceHandles, ServiceReply] {
	return Request[InstanceHandles, ServiceReply](s.nodeSubject("import_instance", node))
}

// UpdateInstance makes the credentials of an instance that has moved here.
func (s ServiceBus) UpdateInstance(node string) Request[InstanceHandles, UpdatedHandles] {
	return Request[InstanceHandles, UpdatedHandles](s.nodeSubject("update_instance", node))
}

// CleanupInstance removes the dump of an instance that has moved.
func (s ServiceBus) CleanupInstance(node string) Request[InstanceHandles, ServiceReply] {
	return Request[InstanceHandles, ServiceReply](s.nodeSubject("cleanupnfs_instance", node))
}

// CheckOrphan asks the nodes, with a word for their logs, for all that they have. They
// tell on NodeHandles.
func (s ServiceBus) CheckOrphan() Subject[Text] { return Subject[Text](s.subject("check_orphan")) }

// NodeHandles tells what a node has, in as many messages as it takes.
func (s ServiceBus) NodeHandles() Subject[NodeHandles] {
	return Subject[NodeHandles](s.subject("node_handles"))
}

// PurgeOrphan removes what no controller knows.
func (s ServiceBus) PurgeOrphan(node string) Subject[Orphans] {
	return Subject[Orphans](s.nodeSubject("purge_orphan", node))
}

// Handles asks the gateway for the binding handles of an instance, or for all that it
// knows where the text is empty.
func (s ServiceBus) Handles() Request[Text, json.RawMessage] {
	return Request[Text, json.RawMessage](s.subject("handles"))
}

// UpdateServiceHandle asks the gateway to replace a handle, also at the controller.
func (s ServiceBus) UpdateServiceHandle() Request[ServiceHandle, bool] {
	return Request[ServiceHandle, bool](s.subject("update_service_handle"))
}

// Announcement is a node's offer.
type Announcement struct {
	AvailableCapacity int      `json:"available_capacity"`
	CapacityUnit      int      `json:"capacity_unit"`
	ID                string   `json:"id"`
	Plan              string   `json:"plan"`
	SupportedVersions []string `json:"supported_versions"`
}

// Validate refuses what cannot be addressed.
func (a Announcement) Validate() error { return validToken(a.ID) }

// DiscoverNodes addresses the nodes of one plan, or all.
type DiscoverNodes struct {
	Plan string `json:"plan,omitempty"`
}

// MarshalBinary writes nothing where all are addressed: to {}, no node of v1 answers.
func (d DiscoverNodes) MarshalBinary() ([]byte, error) {
	if d.Plan == "" {
		return nil, nil
	}
	type plain DiscoverNodes
	return json.Marshal(plain(d))
}

// UnmarshalBinary reads what MarshalBinary writes.
func (d *DiscoverNodes) UnmarshalBinary(data []byte) error {
	if len(data) == 0 {
		return nil
	}
	type plain DiscoverNodes
	return json.Unmarshal(data, (*plain)(d))
}

// Provision asks for a service instance, with given credentials where it existed before.
type Provision struct {
	Plan        string          `json:"plan"`
	Version     string          `json:"version,omitempty"`
	Credentials json.RawMessage `json:"credentials,omitempty"`
}

// Validate refuses a request without a plan.
func (p Provision) Validate() error {
	if p.Plan == "" {
		return errors.New("plan is missing")
	}
	return nil
}

// Unprovision names a service instance, and the credentials of its bindings.
type Unprovision struct {
	Name     string            `json:"name"`
	Bindings []json.RawMessage `json:"bindings"`
}

// Validate refuses names that would lead elsewhere.
func (u Unprovision) Validate() error { return validName(u.Name) }

// Bind asks for credentials, given ones where the binding existed before.
type Bind struct {
	Name        string          `json:"name"`
	Options     json.RawMessage `json:"bind_opts,omitempty"`
	Credentials json.RawMessage `json:"credentials,omitempty"`
}

// Validate refuses names that would lead elsewhere.
func (b Bind) Validate() error { return validName(b.Name) }

// Unbind names a binding by its credentials.
type Unbind struct {
	Credentials json.RawMessage `json:"credentials"`
}

// Restore names a service instance and where its backup lies.
type Restore struct {
	InstanceID string `json:"instance_id"`
	BackupPath string `json:"backup_path"`
}

// Validate refuses names that would lead elsewhere.
func (r Restore) Validate() error { return validName(r.InstanceID) }

// ServiceReply is a node's answer. The credentials of a provisioned instance name their
// node as node_id.
type ServiceReply struct {
	Success     bool            `json:"success"`
	Credentials json.RawMessage `json:"credentials,omitempty"`
	Error       *ServiceError   `json:"error,omitempty"`
}

// ServiceError says why a node, or a gateway, did not do what it was asked.
type ServiceError struct {
	Status int            `json:"status"` // of HTTP
	Msg    ServiceMessage `json:"msg"`
}

// ServiceMessage is a row of the services' table of errors.
type ServiceMessage struct {
	Code        int    `json:"code"`
	Description string `json:"description"`
}

// Error is the row's text.
func (e *ServiceError) Error() string { return fmt.Sprintf("%d: %s", e.Msg.Code, e.Msg.Description) }

// ServiceHandle is a service instance, or a binding, as gateway and controller know it.
type ServiceHandle struct {
	ServiceID     string          `json:"service_id"`
	Configuration json.RawMessage `json:"configuration"`
	Credentials   json.RawMessage `json:"credentials"`
}

// Validate refuses a handle of nothing.
func (h ServiceHandle) Validate() error { return validName(h.ServiceID) }

// InstanceHandles are the handles of an instance and of its bindings. On the wire they
// are an array of two: [instance, [binding, …]].
type InstanceHandles struct {
	Instance ServiceHandle
	Bindings []ServiceHandle
}

// MarshalJSON writes the array.
func (h InstanceHandles) MarshalJSON() ([]byte, error) {
	return json.Marshal([]any{h.Instance, append([]ServiceHandle{}, h.Bindings...)})
}

// UnmarshalJSON reads the array.
func (h *InstanceHandles) UnmarshalJSON(data []byte) error {
	var parts []json.RawMessage
	if err := json.Unmarshal(data, &parts); err != nil {
		return err
	}
	if len(parts) != 2 {
		return fmt.Errorf("%d parts are no pair of instance and bindings", len(parts))
	}
	return errors.Join(json.Unmarshal(parts[0], &h.Instance), json.Unmarshal(parts[1], &h.Bindings))
}

// Validate refuses handles of nothing.
func (h InstanceHandles) Validate() error {
	return errors.Join(h.Instance.Validate(), validHandles(h.Bindings))
}

// UpdatedHandles answer an update: the handles with their new credentials, the
// instance's first, as an array; or, where it failed, a ServiceReply.
type UpdatedHandles struct {
	Handles []ServiceHandle
	Failed  *ServiceReply
}

// MarshalJSON writes the array, or the failure.
func (u UpdatedHandles) MarshalJSON() ([]byte, error) {
	if u.Failed != nil {
		return json.Marshal(u.Failed)
	}
	return json.Marshal(append([]ServiceHandle{}, u.Handles...))
}

// UnmarshalJSON reads either.
func (u *UpdatedHandles) UnmarshalJSON(data []byte) error {
	if bytes.HasPrefix(data, []byte("[")) {
		return json.Unmarshal(data, &u.Handles)
	}
	return json.Unmarshal(data, &u.Failed)
}

// Validate refuses handles of nothing.
func (u UpdatedHandles) Validate() error { return validHandles(u.Handles) }

// NodeHandles are names of instances, and credentials of bindings, that a node has. The
// credentials hold name and username at least.
type NodeHandles struct {
	Instances []string          `json:"instances_list"`
	Bindings  []json.RawMessage `json:"bindings_list"`
	NodeID    string            `json:"node_id"`
}

// Validate refuses what cannot be addressed.
func (n NodeHandles) Validate() error { return validToken(n.NodeID) }

// Orphans are names of instances, and credentials of bindings, to be removed.
type Orphans struct {
	Instances []string          `json:"orphan_ins_list"`
	Bindings  []json.RawMessage `json:"orphan_binding_list"`
}

// Validate refuses names that would lead elsewhere.
func (o Orphans) Validate() error {
	for _, name := range o.Instances {
		if err := validName(name); err != nil {
			return err
		}
	}
	return nil
}

func validHandles(list []ServiceHandle) error {
	for _, h := range list {
		if err := h.Validate(); err != nil {
			return err
		}
	}
	return nil
}

// validName refuses what is no name of an instance: nodes make folders of them.
func validName(name string) error {
	if name == "" || len(name) > 255 || name[0] == '.' || strings.ContainsAny(name, "/\\\x00") {
		return fmt.Errorf("%.80q is no name of an instance", name)
	}
	return nil
}
