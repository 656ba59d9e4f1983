#!/usr/bin/env bash
# Makes .venv in the project's folder and installs quickstudy into it, editable.
#
#   scripts/setup.sh              the package and what it needs
#   scripts/setup.sh dev,docs     and these extras
#   scripts/setup.sh --check      only looks: says what would be done, or what is in the way
#
# Runs again at no cost; a run that was interrupted is repaired by the next one. Written for bash 3.2 (macOS).
# Reads PYTHON (the interpreter to take), TORCH_INDEX (one more package index, for PyTorch's wheels),
# QUICKSTUDY_SKIP_DISK_CHECK=1 and QUICKSTUDY_MIN_DISK_KB (4 GB where unset).
# Leaves with 2 where something must be done first (one line says what), with 1 where the installation failed.
set -u

cd "$(dirname "$0")/.." || exit 1
root=$PWD
venv=$root/.venv
stamp=$venv/.quickstudy-installed       # what is installed: the folder, the extras, the checksum, a line each
unfinished=$venv/.quickstudy-unfinished # the process that installs; left over, it means one was interrupted
min_disk_kb=${QUICKSTUDY_MIN_DISK_KB:-4194304}
export PYTHONUTF8=1 PIP_DISABLE_PIP_VERSION_CHECK=1

check_only=0
if [ "${1:-}" = --check ]; then check_only=1; shift; fi
extras=${1:-}

say() { printf 'setup: %s\n' "$*"; }
stop() { printf 'setup: %s\n' "$*" >&2; exit 2; }

fits() { # does it run at all (a version manager's stand-in may not), and have PyTorch's wheels its version?
    "$1" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 14))' >/dev/null 2>&1 </dev/null
}

version_of() { "$1" -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null </dev/null; }

find_python() { # prints the interpreter to build .venv with, or nothing
    if [ -n "${PYTHON:-}" ]; then
        if fits "$PYTHON"; then echo "$PYTHON"; fi
        return
    fi
    for candidate in python3 python3.14 python3.13 python3.12 python3.11 python; do
        if fits "$candidate"; then echo "$candidate"; return; fi
    done
    if command -v uv >/dev/null 2>&1; then
        candidate=$(uv python find '>=3.11,<3.15' 2>/dev/null </dev/null) && fits "$candidate" && echo "$candidate"
    fi
}

writable() { # really tried: for root, and on read-only disks, the permission bits say nothing
    [ -d "$1" ] && mkdir "$1/.quickstudy-$$" 2>/dev/null && rmdir "$1/.quickstudy-$$"
}

venv_command() { # the one command that brings what this Python lacks
    if command -v apt-get >/dev/null 2>&1; then echo "sudo apt-get install -y python$(version_of "$1")-venv"
    elif command -v dnf >/dev/null 2>&1; then echo "sudo dnf install -y python3-pip"
    elif command -v brew >/dev/null 2>&1; then echo "brew install python"
    else echo "$1 -m pip install --user uv"; fi
}

# What is there already?
checksum=$(cat pyproject.toml constraints.txt scripts/setup.sh | cksum)
fresh=1 # 1: make .venv from nothing, 0: there is one, bring it up to date
if [ "$check_only" = 0 ] && [ -d "$venv" ]; then
    if [ -e "$unfinished" ]; then
        other=$(cat "$unfinished")
        if [ -n "$other" ] && kill -0 "$other" 2>/dev/null; then
            stop "another setup is at work (process $other); wait for it, or remove .venv if there is none"
        fi
        say "the last setup was interrupted: starting over"
    elif "$venv/bin/python" -c '' >/dev/null 2>&1; then
        fits "$venv/bin/python" ||
            stop "quickstudy needs Python 3.11 to 3.14, .venv holds $(version_of "$venv/bin/python"): remove .venv and run this again"
        fresh=0
        if [ -e "$stamp" ]; then
            { read -r had_root; read -r had_extras; read -r had_checksum; } <"$stamp"
            if [ "$had_root" != "$root" ]; then
                fresh=1 # the folder was moved, and the commands in .venv still name the old place
            else
                extras=${extras:-$had_extras} # who has the extras keeps them
                if [ "$had_extras" = "$extras" ] && [ "$had_checksum" = "$checksum" ]; then exit 0; fi
            fi
        fi
    fi
fi

# Look at everything that may be in the way before anything is written.
python=$(find_python)
if [ -z "$python" ]; then
    for candidate in "${PYTHON:-python3}" "${PYTHON:-python}"; do
        found=$(version_of "$candidate") && [ -n "$found" ] &&
            stop "quickstudy needs Python 3.11 to 3.14, $candidate here is $found (PYTHON=/path/to/python names another)"
    done
    stop "quickstudy needs Python 3.11 to 3.14, none was found (PYTHON=/path/to/python names one)"
fi
with=venv
if [ "$fresh" = 0 ]; then
    "$venv/bin/python" -m pip --version >/dev/null 2>&1 </dev/null || with=uv
elif ! "$python" -c 'import ensurepip, venv' >/dev/null 2>&1 </dev/null; then
    with=uv
fi
if [ "$with" = uv ] && ! command -v uv >/dev/null 2>&1; then
    stop "this Python cannot make a virtual environment with pip in it; run: $(venv_command "$python")"
fi
if [ "$fresh" = 1 ] && [ "${QUICKSTUDY_SKIP_DISK_CHECK:-}" != 1 ]; then
    free_kb=$(df -Pk "$root" | awk 'NR == 2 { for (i = 2; i <= NF; i++) if ($i ~ /%$/) { print $(i - 1); exit } }')
    case $free_kb in
        '' | *[!0-9]*) ;; # a disk that does not say
        *) [ "$free_kb" -ge "$min_disk_kb" ] ||
            stop "$((free_kb / 1024)) MB are free here, $((min_disk_kb / 1024)) MB are wanted (QUICKSTUDY_SKIP_DISK_CHECK=1 goes on all the same)" ;;
    esac
fi
scratch=
writable "${HOME:-/nonexistent}" || scratch=${TMPDIR:-/tmp}

if [ "$check_only" = 1 ]; then
    say "would make .venv with $python ($(version_of "$python")) and $with"
    [ -z "$scratch" ] || say "the home folder cannot be written: downloads would be kept in a temporary folder"
    exit 0
fi

# Do it.
if [ -n "$scratch" ]; then
    scratch=$(mktemp -d "$scratch/quickstudy-setup.XXXXXX") || exit 1
    trap 'rm -rf "$scratch"' EXIT
    export HOME="$scratch" PIP_CACHE_DIR="${PIP_CACHE_DIR:-$scratch/pip}" UV_CACHE_DIR="${UV_CACHE_DIR:-$scratch/uv}"
fi
if [ -n "${TORCH_INDEX:-}" ]; then
    export PIP_EXTRA_INDEX_URL="$TORCH_INDEX${PIP_EXTRA_INDEX_URL:+ $PIP_EXTRA_INDEX_URL}"
    export UV_INDEX="$TORCH_INDEX${UV_INDEX:+ $UV_INDEX}" UV_INDEX_STRATEGY=unsafe-best-match
fi
if [ "$fresh" = 1 ]; then
    say "making .venv with $python ($(version_of "$python"))"
    rm -rf "$venv" && mkdir "$venv" && echo $$ >"$unfinished" || exit 1
    if [ "$with" = uv ]; then uv venv --quiet --allow-existing --python "$python" "$venv" </dev/null
    else "$python" -m venv "$venv" </dev/null; fi || { say "making .venv failed (above is why)" >&2; exit 1; }
fi
echo $$ >"$unfinished" || exit 1
say "installing quickstudy${extras:+ with $extras} (PyTorch is large: some minutes the first time)"
if [ "$with" = uv ]; then uv pip install --quiet --python "$venv/bin/python" -c constraints.txt -e ".${extras:+[$extras]}" </dev/null
else "$venv/bin/python" -m pip install -qq --no-input --progress-bar off -c constraints.txt -e ".${extras:+[$extras]}" </dev/null; fi ||
    {
        # It gave up by itself, so an environment that was whole is whole still.
        [ "$fresh" = 1 ] || rm -f "$unfinished"
        say "the installation failed (above is why); run this again to go on" >&2
        exit 1
    }
printf '%s\n' "$root" "$extras" "$checksum" >"$stamp" && rm -f "$unfinished"
say "done"
