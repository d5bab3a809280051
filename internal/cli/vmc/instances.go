package vmc

import (
	"context"
	"fmt"
	"sort"
	"strconv"

	"cloudlet/controller/api"
)

func instancesCommand(ctx context.Context, s *session, args []string) error {
	if len(args) == 2 {
		return s.scaleApp(ctx, args[0], args[1])
	}
	if s.opts.instances > 0 {
		return s.scaleApp(ctx, args[0], strconv.Itoa(s.opts.instances))
	}
	c, _, err := s.app(ctx, args[0])
	if err != nil {
		return err
	}
	list, err := c.Instances(ctx, args[0])
	if err != nil {
		return err
	}
	if s.opts.json {
		return s.printJSON(api.Instances{Instances: list})
	}
	s.show(fmt.Sprintf("No running instances for [%s]", args[0]), instanceRows(list))
	return nil
}

func instanceRows(list []api.Instance) [][]string {
	rows := [][]string{{"Index", "State", "Start Time"}}
	debugged := false
	for _, i := range list {
		debugged = debugged || i.Ports != nil && i.Ports.DebugIP != nil
	}
	if debugged {
		rows[0] = append(rows[0], "Debug IP", "Debug Port")
	}
	for _, i := range list {
		row := []string{strconv.Itoa(i.Index), i.State, stamp(i.Since)}
		if p := i.Ports; debugged && p != nil && p.DebugIP != nil && p.DebugPort != nil {
			row = append(row, *p.DebugIP, strconv.Itoa(*p.DebugPort))
		}
		rows = append(rows, row)
	}
	return rows
}

func statsCommand(ctx context.Context, s *session, args []string) error {
	return s.forEach(args, func(name string) error {
		c, _, err := s.app(ctx, name)
		if err != nil {
			return err
		}
		stats, err := c.Stats(ctx, name)
		if err != nil {
			return err
		}
		if s.opts.json {
			return s.printJSON(stats)
		}
		s.show(fmt.Sprintf("No running instances for [%s]", name), statsRows(stats))
		return nil
	})
}

func statsRows(stats map[int]api.InstanceStats) [][]string {
	rows := [][]string{{"Instance", "CPU (Cores)", "Memory (limit)", "Disk (limit)", "Uptime"}}
	for _, index := range sortedIndexes(stats) {
		st := stats[index].Stats
		if st == nil {
			continue // not running
		}
		cpu, mem, disk := "NA", "NA", "NA"
		if u := st.Usage; u != nil {
			kib, _ := u.Mem.Float64() // what is no number shows as 0, as in vmc
			cpu, mem, disk = u.CPU.String(), size(int64(kib*1024), 1), size(u.Disk, 1)
		}
		seconds, _ := st.Uptime.Float64()
		rows = append(rows, []string{
			strconv.Itoa(index),
			fmt.Sprintf("%s%% (%d)", cpu, st.Cores),
			fmt.Sprintf("%s (%s)", mem, size(st.MemQuota, 0)),
			fmt.Sprintf("%s (%s)", disk, size(st.DiskQuota, 0)),
			uptime(seconds),
		})
	}
	return rows
}

func sortedIndexes(stats map[int]api.InstanceStats) []int {
	list := make([]int, 0, len(stats))
	for i := range stats {
		list = append(list, i)
	}
	sort.Ints(list)
	return list
}
