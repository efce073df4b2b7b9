// The rivals of programs/propagation.ts that are written in Go: clientv3's raw watch, and go-kit's instancer.
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"log"
	"math"
	"os"
	"sort"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/go-kit/kit/sd"
	"github.com/go-kit/kit/sd/etcdv3"
	kitlog "github.com/go-kit/log"
	clientv3 "go.etcd.io/etcd/client/v3"
)

const prefix = "/services/bench/"

type instance struct {
	ID       string            `json:"id"`
	Metadata map[string]string `json:"metadata"`
}

func decode(value []byte) instance {
	var decoded instance
	must(json.Unmarshal(value, &decoded))
	return decoded
}

func must(err error) {
	if err != nil {
		log.Fatal(err)
	}
}

func millis() float64 { return float64(time.Now().UnixNano()) / 1e6 }

// Microseconds of CPU, user and system, of all threads.
func cpu() float64 {
	var usage syscall.Rusage
	must(syscall.Getrusage(syscall.RUSAGE_SELF, &usage))
	return float64(usage.Utime.Nano()+usage.Stime.Nano()) / 1e3
}

func quantile(values []float64, q float64) float64 {
	sort.Float64s(values)
	return values[int(math.Min(float64(len(values)-1), math.Floor(float64(len(values))*q)))]
}

// What a consumer has seen, and what that took.
type measurement struct {
	started   bool
	cpuBefore float64
	known     map[string]bool
	latencies []float64
}

func (m *measurement) seen(mark string) {
	if mark == "start" && !m.started {
		m.started, m.cpuBefore = true, cpu()
	}
	if !m.started || mark == "start" || m.known[mark] {
		return
	}
	m.known[mark] = true
	changes, isEnd := strings.CutPrefix(mark, "end ")
	if !isEnd {
		writtenAt, err := strconv.ParseFloat(mark, 64)
		must(err)
		m.latencies = append(m.latencies, millis()-writtenAt)
		return
	}
	count, err := strconv.ParseFloat(changes, 64)
	must(err)
	figures, err := json.Marshal(map[string]float64{
		"p50 ms":            quantile(m.latencies, 0.5),
		"p99 ms":            quantile(m.latencies, 0.99),
		"CPU µs per change": (cpu() - m.cpuBefore) / count,
		"changes seen":      float64(len(m.latencies)),
	})
	must(err)
	fmt.Println("figures " + string(figures))
}

func raw(endpoint string, m *measurement) {
	client, err := clientv3.New(clientv3.Config{Endpoints: []string{endpoint}})
	must(err)
	ctx := context.Background()
	answer, err := client.Get(ctx, prefix, clientv3.WithPrefix())
	must(err)
	instances := map[string]instance{}
	for _, kv := range answer.Kvs {
		instances[string(kv.Key)] = decode(kv.Value)
	}
	watch := client.Watch(ctx, prefix, clientv3.WithPrefix(), clientv3.WithRev(answer.Header.Revision+1), clientv3.WithCreatedNotify())
	for response := range watch {
		if response.Created {
			fmt.Println("ready")
		}
		for _, event := range response.Events {
			if event.Type == clientv3.EventTypeDelete {
				delete(instances, string(event.Kv.Key))
				continue
			}
			decoded := decode(event.Kv.Value)
			instances[string(event.Kv.Key)] = decoded
			if decoded.ID == "i0" {
				m.seen(decoded.Metadata["mark"])
			}
		}
	}
}

func kit(endpoint string, m *measurement) {
	client, err := etcdv3.NewClient(context.Background(), []string{endpoint}, etcdv3.ClientOptions{})
	must(err)
	instancer, err := etcdv3.NewInstancer(client, prefix, kitlog.NewNopLogger())
	must(err)
	events := make(chan sd.Event, 1)
	go func() {
		// The first one is what was there before.
		instancer.Register(events)
	}()
	ready := false
	for event := range events {
		if !ready {
			ready = true
			fmt.Println("ready")
		}
		// Decoding is left to the user of go-kit: only the one that is looked for is.
		for _, value := range event.Instances {
			if strings.HasPrefix(value, `{"id":"i0",`) {
				m.seen(decode([]byte(value)).Metadata["mark"])
				break
			}
		}
	}
}

func main() {
	contender, endpoint := os.Args[1], os.Args[2]
	m := &measurement{known: map[string]bool{}}
	if contender == "go-kit" {
		kit(endpoint, m)
	} else {
		raw(endpoint, m)
	}
}
