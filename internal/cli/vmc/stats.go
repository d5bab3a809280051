package vmc

import (
	"context"
	"fmt"
	"sort"
	"strconv"

	"cloudlet/controller/api"
)

// statsCommand names the applications where it is about several.
func statsCommand(ctx context.Context, s *session, args []string) error {
	names, err := s.names(ctx, args)
	if err != nil {
		return err
	}
	all := map[string]map[int]api.InstanceStats{}
	for _, name := range names {
		c, _, err := s.app(ctx, name)
		if err != nil {
			return err
		}
		if all[name], err = c.Stats(ctx, name); err != nil {
			return err
		}
	}
	switch {
	case s.opts.json && len(names) == 1:
		return s.printJSON(all[names[0]])
	case s.opts.json:
		return s.printJSON(all)
	}
	for _, name := range names {
		if len(names) > 1 {
			s.say("\nApplication '%s'", name)
		}
		s.show(fmt.Sprintf("No running instances for [%s]", name), statsRows(all[name]))
	}
	return nil
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
