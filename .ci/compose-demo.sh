#!/usr/bin/env bash
# The compose demo with a real engine: builds the image, starts all containers, and checks that the purchase succeeded,
# that ports are open on 127.0.0.1 alone and that no container runs as root. Leaves nothing behind but images.
# Starts an engine (as root) when none answers, and stops it again. COMPOSE chooses the program, for example
# COMPOSE="docker compose".
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

readonly demo_seconds_max=300
readonly services=(ca issuer gateway merchant cardholder)

work=$(mktemp -d)
engine=
up=

compose() {
    "${compose_program[@]}" --project-name openset-ci "$@"
}

clean_up() {
    local status=$?
    trap - EXIT
    if [ -n "$up" ]; then
        [ "$status" -eq 0 ] || compose logs --no-color --tail 100 >&2 || true
        compose down --volumes --remove-orphans >"$work/down.log" 2>&1 || { cat "$work/down.log" >&2; status=1; }
    fi
    if [ -n "$engine" ]; then
        kill "$engine" 2>/dev/null || true
        wait "$engine" 2>/dev/null || true
    fi
    rm -rf "$work"
    [ "$status" -eq 0 ] || echo ".ci/compose-demo.sh: FAILED" >&2
    exit "$status"
}
trap clean_up EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

start_engine() {
    echo "starting a Docker engine"
    dockerd --pidfile "$work/dockerd.pid" >"$work/dockerd.log" 2>&1 &
    engine=$!
    local i
    for ((i = 0; i < 60; i++)); do
        docker info >/dev/null 2>&1 && return
        kill -0 "$engine" 2>/dev/null || break
        sleep 1
    done
    cat "$work/dockerd.log" >&2
    echo "the Docker engine did not start" >&2
    return 1
}

# container SERVICE: its id, also after it has ended.
container() {
    compose ps --all --quiet "$1"
}

check_demo() {
    local demo status
    demo=$(container demo)
    [ -n "$demo" ] || { echo "there is no demo container" >&2; return 1; }
    if ! status=$(timeout "$demo_seconds_max" docker wait "$demo"); then
        echo "the demo container did not end within $demo_seconds_max s" >&2
        return 1
    fi
    docker logs "$demo"
    if [ "$status" != 0 ]; then
        echo "the demo container ended with status $status" >&2
        return 1
    fi
}

check_containers() {
    local service id user addresses
    for service in "${services[@]}"; do
        id=$(container "$service")
        if [ "$(docker inspect --format '{{.State.Health.Status}}' "$id")" != healthy ]; then
            echo "$service is not healthy" >&2
            return 1
        fi
        user=$(docker inspect --format '{{.Config.User}}' "$id")
        case $user in
            '' | root | 0 | root:* | 0:*) echo "$service runs as root" >&2; return 1 ;;
        esac
        addresses=$(docker inspect --format \
            '{{range .NetworkSettings.Ports}}{{range .}}{{.HostIp}}{{"\n"}}{{end}}{{end}}' "$id" | sort -u | sed '/^$/d')
        if [ "$addresses" != 127.0.0.1 ]; then
            printf '%s publishes its port on "%s", not on 127.0.0.1 alone\n' "$service" "$addresses" >&2
            return 1
        fi
    done
    echo "all services healthy, not root, published on 127.0.0.1 alone"
}

if [ -n "${COMPOSE:-}" ]; then
    read -r -a compose_program <<<"$COMPOSE"
elif docker compose version >/dev/null 2>&1; then
    compose_program=(docker compose)
else
    compose_program=(docker-compose)
fi

docker info >/dev/null 2>&1 || start_engine
.ci/docker-images.sh

up=1
# What an interrupted run left would otherwise be taken up again.
compose down --volumes --remove-orphans >/dev/null 2>&1
echo "building the image and starting the containers"
compose up --build --detach >"$work/up.log" 2>&1 || {
    tail -n 200 "$work/up.log" >&2
    exit 1
}
check_demo
check_containers
echo ".ci/compose-demo.sh: passed"
