package warden

import (
	"encoding/binary"
	"fmt"
	"maps"
	"slices"
	"syscall"

	"github.com/elastic/go-seccomp-bpf"
	"github.com/elastic/go-seccomp-bpf/arch"
	profile "github.com/moby/profiles/seccomp"
	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"
)

// filter is the program that decides which system calls the processes of a container
// may make: those that the container engines allow to a container without capabilities.
// It is made once and is the same for all, as the kernel reads it: rows of sock_filter.
func filter() ([]byte, error) {
	p, err := profile.GetDefaultProfile(&specs.Spec{Process: &specs.Process{Capabilities: &specs.LinuxCapabilities{}}})
	if err != nil {
		return nil, err
	}
	info, err := arch.GetInfo("")
	if err != nil {
		return nil, err
	}
	policy := seccomp.Policy{DefaultAction: seccomp.ActionErrno, Syscalls: rules(p.Syscalls, info)}
	program, err := policy.Assemble()
	if err != nil {
		return nil, err
	}
	raw, err := bpf.Assemble(slices.Concat(unknownCalls(info), typing(), overhearing(), program))
	if err != nil {
		return nil, err
	}
	var b []byte
	for _, i := range raw {
		b = binary.NativeEndian.AppendUint16(b, i.Op)
		b = append(b, i.Jt, i.Jf)
		b = binary.NativeEndian.AppendUint32(b, i.K)
	}
	return b, nil
}

// Offsets in struct seccomp_data. Of an argument it is the lower half that ioctl and socket
// look at.
const (
	callNumber = 0
	firstArg   = 16
	secondArg  = 24
	thirdArg   = 32
)

// typing denies to type on a terminal what whoever sits there has not typed.
func typing() []bpf.Instruction {
	return []bpf.Instruction{
		bpf.LoadAbsolute{Off: callNumber, Size: 4},
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: unix.SYS_IOCTL, SkipFalse: 4},
		bpf.LoadAbsolute{Off: secondArg, Size: 4},
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: unix.TIOCSTI, SkipTrue: 1},
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: unix.TIOCLINUX, SkipFalse: 1},
		bpf.RetConstant{Val: uint32(seccomp.ActionErrno) | uint32(syscall.EPERM)},
	}
}

// overhearing denies to listen to what the kernel tells of the host's devices, such as the
// disks of other containers: it tells all networks that are not an ordinary user's.
func overhearing() []bpf.Instruction {
	return []bpf.Instruction{
		bpf.LoadAbsolute{Off: callNumber, Size: 4},
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: unix.SYS_SOCKET, SkipFalse: 5},
		bpf.LoadAbsolute{Off: firstArg, Size: 4},
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: unix.AF_NETLINK, SkipFalse: 3},
		bpf.LoadAbsolute{Off: thirdArg, Size: 4},
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: unix.NETLINK_KOBJECT_UEVENT, SkipFalse: 1},
		bpf.RetConstant{Val: uint32(seccomp.ActionErrno) | uint32(syscall.EPROTONOSUPPORT)},
	}
}

// unknownCalls answers calls that are younger than the list with "no such call", so that
// programs fall back to what they did before there were any.
func unknownCalls(info *arch.Info) []bpf.Instruction {
	newest := slices.Max(slices.Collect(maps.Values(info.SyscallNames)))
	return []bpf.Instruction{
		bpf.LoadAbsolute{Off: callNumber, Size: 4},
		bpf.JumpIf{Cond: bpf.JumpGreaterThan, Val: uint32(newest), SkipFalse: 1},
		bpf.RetConstant{Val: uint32(seccomp.ActionErrno) | uint32(syscall.ENOSYS)},
	}
}

// rules translates the profile. All conditions of a call stand in one group, as the first
// group that names a call decides.
func rules(calls []specs.LinuxSyscall, info *arch.Info) []seccomp.SyscallGroup {
	groups := map[seccomp.Action]*seccomp.SyscallGroup{}
	var order []seccomp.Action
	plain := map[string]bool{}
	for _, c := range calls {
		a := action(c)
		g := groups[a]
		if g == nil {
			g = &seccomp.SyscallGroup{Action: a}
			groups[a], order = g, append(order, a)
		}
		for _, name := range c.Names {
			if _, known := info.SyscallNames[name]; !known || plain[name] {
				continue
			}
			if len(c.Args) == 0 {
				plain[name] = true
				g.Names = append(g.Names, name)
				continue
			}
			g.NamesWithCondtions = append(g.NamesWithCondtions, seccomp.NameWithConditions{Name: name, Conditions: conditions(c.Args)})
		}
	}
	var list []seccomp.SyscallGroup
	for _, a := range order {
		g := groups[a]
		g.NamesWithCondtions = slices.DeleteFunc(g.NamesWithCondtions, func(n seccomp.NameWithConditions) bool { return plain[n.Name] })
		list = append(list, *g)
	}
	return list
}

func action(c specs.LinuxSyscall) seccomp.Action {
	if c.Action == specs.ActAllow {
		return seccomp.ActionAllow
	}
	errno := uint(syscall.EPERM)
	if c.ErrnoRet != nil {
		errno = *c.ErrnoRet
	}
	return seccomp.ActionErrno | seccomp.Action(errno)
}

var operations = map[specs.LinuxSeccompOperator]seccomp.Operation{
	specs.OpEqualTo:      seccomp.Equal,
	specs.OpNotEqual:     seccomp.NotEqual,
	specs.OpLessThan:     seccomp.LessThan,
	specs.OpLessEqual:    seccomp.LessOrEqual,
	specs.OpGreaterThan:  seccomp.GreaterThan,
	specs.OpGreaterEqual: seccomp.GreaterOrEqual,
}

func conditions(args []specs.LinuxSeccompArg) seccomp.ArgumentConditions {
	var list seccomp.ArgumentConditions
	for _, a := range args {
		op, ok := operations[a.Op]
		switch {
		case ok:
		case a.Op == specs.OpMaskedEqual && a.ValueTwo == 0:
			op = seccomp.BitsNotSet
		default:
			panic(fmt.Sprintf("seccomp: the profile uses %s", a.Op))
		}
		list = append(list, seccomp.Condition{Argument: uint32(a.Index), Operation: op, Value: a.Value})
	}
	return list
}
