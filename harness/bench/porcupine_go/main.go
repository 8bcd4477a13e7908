// Porcupine on histories of ours: porcupine OBJECT FILE…
//
// Reads history.jsonl files, checks each by Porcupine's own search with its partitions by key, and
// prints one line of JSON: seconds of the CPU that reading and checking took, the longest check,
// peak memory and the results.
package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"syscall"

	"github.com/anishathalye/porcupine"
)

type event struct {
	Type    string          `json:"type"`
	Process int             `json:"process"`
	F       string          `json:"f"`
	Value   json.RawMessage `json:"value"`
}

type call struct {
	f     string
	key   int
	asked []int // one value, or the two of a cas
}

type answer struct {
	known, null bool
	value       int
	values      []int // what a read of a set returned
}

// keyed says whether values are [key, value]: those that are asked for are arrays of two,
// of which a cas of a single register is one, too.
func keyed(events []event) bool {
	for _, e := range events {
		if e.Type == "invoke" && e.F != "cas" && len(e.Value) > 0 && e.Value[0] == '[' {
			return true
		}
	}
	return false
}

func split(raw json.RawMessage, keyed bool) (int, json.RawMessage) {
	if !keyed || len(raw) == 0 || raw[0] != '[' {
		return 0, raw
	}
	var pair []json.RawMessage
	must(json.Unmarshal(raw, &pair))
	var key int
	must(json.Unmarshal(pair[0], &key))
	return key, pair[1]
}

func numbers(raw json.RawMessage) []int {
	if isNull(raw) {
		return nil
	}
	if raw[0] == '[' {
		var many []int
		must(json.Unmarshal(raw, &many))
		return many
	}
	var one int
	must(json.Unmarshal(raw, &one))
	return []int{one}
}

func isNull(raw json.RawMessage) bool {
	return len(raw) == 0 || string(raw) == "null"
}

// operations pairs the events of a file. What failed is left out; what is in doubt may return
// whenever it likes, and a read in doubt says nothing.
func operations(path string) []porcupine.Operation {
	file, err := os.Open(path)
	must(err)
	defer file.Close()
	var events []event
	lines := bufio.NewScanner(file)
	lines.Buffer(nil, 1<<26)
	for lines.Scan() {
		var e event
		must(json.Unmarshal(lines.Bytes(), &e))
		events = append(events, e)
	}
	must(lines.Err())
	byKey := keyed(events)
	open := map[int]int{}
	never := int64(len(events) + 1)
	var found []porcupine.Operation
	var dropped []bool
	for at, e := range events {
		if e.Type == "invoke" {
			key, raw := split(e.Value, byKey)
			open[e.Process] = len(found)
			input := call{e.F, key, numbers(raw)}
			found = append(found, porcupine.Operation{ClientId: e.Process, Input: input,
				Call: int64(at), Output: answer{}, Return: never})
			dropped = append(dropped, false)
			continue
		}
		number := open[e.Process]
		delete(open, e.Process)
		switch e.Type {
		case "fail":
			dropped[number] = true
		case "info":
			dropped[number] = e.F == "read"
		default:
			_, raw := split(e.Value, byKey)
			told := answer{known: true, null: isNull(raw), values: numbers(raw)}
			if len(told.values) > 0 {
				told.value = told.values[0]
			}
			slices.Sort(told.values)
			found[number].Output, found[number].Return = told, int64(at)
		}
	}
	for _, number := range open {
		dropped[number] = found[number].Input.(call).f == "read"
	}
	kept := found[:0]
	for number, operation := range found {
		if !dropped[number] {
			kept = append(kept, operation)
		}
	}
	return kept
}

func byKey(history []porcupine.Operation) [][]porcupine.Operation {
	parts := map[int][]porcupine.Operation{}
	for _, operation := range history {
		key := operation.Input.(call).key
		parts[key] = append(parts[key], operation)
	}
	var found [][]porcupine.Operation
	for _, part := range parts {
		found = append(found, part)
	}
	return found
}

type register struct {
	written bool
	value   int
}

var models = map[string]porcupine.Model{
	"register": {
		Partition: byKey,
		Init:      func() any { return register{} },
		Step: func(state, input, output any) (bool, any) {
			now, in, out := state.(register), input.(call), output.(answer)
			switch in.f {
			case "write":
				return true, register{true, in.asked[0]}
			case "cas":
				same := now.written && now.value == in.asked[0]
				if !same {
					return !out.known, now // in doubt, it may have failed
				}
				return true, register{true, in.asked[1]}
			}
			return out.null != now.written && (out.null || out.value == now.value), now
		},
	},
	"queue": {
		Init: func() any { return []int(nil) },
		Step: func(state, input, output any) (bool, any) {
			inside, in, out := state.([]int), input.(call), output.(answer)
			if in.f == "enqueue" {
				return true, append(slices.Clone(inside), in.asked[0])
			}
			if len(inside) == 0 {
				return !out.known || out.null, inside
			}
			return !out.known || (!out.null && out.value == inside[0]), inside[1:]
		},
		Equal: func(one, other any) bool { return slices.Equal(one.([]int), other.([]int)) },
	},
	"set": {
		Partition: byKey,
		Init:      func() any { return []int(nil) },
		Step: func(state, input, output any) (bool, any) {
			inside, in, out := state.([]int), input.(call), output.(answer)
			if in.f == "read" {
				return slices.Equal(inside, out.values), inside
			}
			at, there := slices.BinarySearch(inside, in.asked[0])
			if there {
				return true, inside
			}
			return true, slices.Insert(slices.Clone(inside), at, in.asked[0])
		},
		Equal: func(one, other any) bool { return slices.Equal(one.([]int), other.([]int)) },
	},
	"counter": {
		Init: func() any { return 0 },
		Step: func(state, input, output any) (bool, any) {
			now, in, out := state.(int), input.(call), output.(answer)
			if in.f == "read" {
				return out.value == now, now
			}
			return true, now + 1
		},
	},
}

func must(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(3)
	}
}

func usage() (float64, int64) {
	var spent syscall.Rusage
	must(syscall.Getrusage(syscall.RUSAGE_SELF, &spent))
	seconds := float64(spent.Utime.Sec+spent.Stime.Sec) +
		float64(spent.Utime.Usec+spent.Stime.Usec)/1e6
	return seconds, spent.Maxrss / 1024
}

func main() {
	model, there := models[os.Args[1]]
	if !there {
		fmt.Fprintln(os.Stderr, "no such object:", os.Args[1])
		os.Exit(2)
	}
	var reading, checking, longest float64
	results := map[string]int{}
	for _, path := range os.Args[2:] {
		begun, _ := usage()
		history := operations(path)
		read, _ := usage()
		result := porcupine.CheckOperationsTimeout(model, history, 0)
		done, _ := usage()
		results[string(result)]++
		reading, checking = reading+read-begun, checking+done-read
		longest = max(longest, done-read)
	}
	_, peak := usage()
	must(json.NewEncoder(os.Stdout).Encode(map[string]any{"read_s": reading, "check_s": checking,
		"longest_s": longest, "peak_mb": peak, "results": results}))
}
