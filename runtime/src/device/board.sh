# What a board runs: these functions, and behind them one line that calls one. POSIX, with no tool that
# busybox or toybox lacks. `sh -s` reads all of it from its standard input; from then on that input is
# the connection to the side that asks, and it ends when that side is gone.
#
# Words go to stderr. Exit statuses of our own: 3 in use, 73 cannot write, 74 arrived damaged, 124 too late.

LC_ALL=C
export LC_ALL
trap '' PIPE # who asked may be gone: tidy up all the same

# A folder that we made ourselves: nothing else is ever written to, or removed.
ours() {
  [ -d "$1" ] && [ ! -L "$1" ] && [ -O "$1" ] && [ -f "$1/.pipeline-agent" ]
}

# Makes FOLDER ours. A folder that others may have filled is left alone.
claim() {
  if ours "$1"; then return 0; fi
  if [ -e "$1" ] || [ -L "$1" ]; then
    if [ -L "$1" ] || [ ! -d "$1" ] || [ ! -O "$1" ] || [ -n "$(ls -A "$1")" ]; then
      echo "it exists and is not the agent's own"
      return 73
    fi
  else
    mkdir -p -m 700 "$1" || return 73
  fi
  : > "$1/.pipeline-agent" && chmod 700 "$1"
}

# Whether a program in FOLDER may run.
runs() {
  printf '#!%s\nexit 0\n' "$(command -v sh)" > "$1/.try" && chmod 700 "$1/.try" && "$1/.try"
  set -- "$1" $?
  rm -f "$1/.try"
  return "$2"
}

# `~/x` as a path.
home() {
  case $1 in
    '~/'*) printf '%s' "${HOME:-/}/${1#??}" ;;
    *) printf '%s' "$1" ;;
  esac
}

# The lock is the board's, whoever measures and in whichever folder: so it lies outside.
lock_file() {
  for place in "${TMPDIR:-/tmp}" /tmp /data/local/tmp; do
    if [ -d "$place" ] && [ -w "$place" ]; then break; fi
  done
  echo "$place/pipeline-agent.lock"
}

# prepare AGENT SHA256 SESSION FOLDER..: chooses the first folder that works, removes what earlier
# sessions left there, and tells what is there as lines of `key value`.
prepare() {
  agent=$1 sha256=$2 session=$3
  shift 3
  echo "machine $(uname -m)"
  echo "lock $(lock_file)"
  for folder do
    folder=$(home "$folder")
    if why=$(claim "$folder" 2>&1 && runs "$folder" 2>&1); then
      # Models of this session whose connection was cut, and of those that nobody came back for.
      rm -rf "$folder/work-$session-"*
      find "$folder" -name 'work-*' -mtime +0 -prune -exec rm -rf {} + 2>/dev/null
      # Agents of other versions, and halves of them. One that runs is not harmed.
      find "$folder" -name 'pipeline-agent-*' ! -name "$agent" -mtime +6 -exec rm -f {} + 2>/dev/null
      if [ "$(hash_of "$folder/$agent")" = "$sha256" ]; then echo "agent present"; fi
      echo "folder $folder"
      return 0
    fi
    # A claim that came to nothing is given back.
    if ours "$folder" && [ "$(ls -A "$folder")" = .pipeline-agent ]; then rm -r "$folder"; fi
    echo "skipped $folder: $(printf '%s' "$why" | tr '\n' ' ')"
  done
  return 73
}

hash_of() {
  if [ -f "$1" ]; then sha256sum < "$1" | cut -c 1-64; fi
}

# within SECONDS COMMAND..: ends a command that waits for a connection that fell silent.
within() {
  if command -v timeout > /dev/null; then timeout -s KILL "$@"; else shift && "$@"; fi
}

# receive SECONDS FILE SHA256 MODE: says that it is ready, and takes what comes until the input ends.
receive() {
  seconds=$1
  shift
  mkdir -p -m 700 "${1%/*}" || return 73
  echo pipeline:ready
  if ! within "$seconds" cat > "$1.$$.part"; then
    df -k "${1%/*}" >&2
    rm -f "$1.$$.part"
    return 73
  fi
  if [ "$(hash_of "$1.$$.part")" != "$2" ]; then
    rm -f "$1.$$.part"
    echo "it arrived damaged, or sha256sum is missing" >&2
    return 74
  fi
  chmod "$3" "$1.$$.part" && mv -f "$1.$$.part" "$1"
}

# run SECONDS WORK PROGRAM ARGUMENT..: runs a program that ends with the connection or after so many
# seconds, and removes the folder WORK afterwards, if it is named.
#
# Who ends it: `timeout` after its time, also when the network fails without a word; and a reader of
# the connection, which without a terminal gets no signal but the end of its input. Neither needs the
# program's help, which may hang. `setsid` gives it a process group of its own, so that all that it
# started ends with it.
run() {
  seconds=$1 work=$2
  shift 2
  begun=$(date +%s)
  if command -v timeout > /dev/null; then set -- timeout -s KILL "$seconds" "$@"; fi
  if command -v setsid > /dev/null; then set -- setsid "$@"; fi
  exec 3<&0
  "$@" < /dev/null 3<&- &
  job=$!
  (
    while read -r _; do :; done
    kill -KILL "-$job" || kill -KILL "$job"
  ) <&3 > /dev/null 2>&1 &
  reader=$!
  wait "$job"
  status=$?
  kill "$reader" 2> /dev/null
  kill -KILL "-$job" 2> /dev/null # what it left running
  if [ -n "$work" ]; then rm -rf "$work"; fi
  if [ "$status" = 137 ] && [ "$seconds" -le $(($(date +%s) - begun)) ]; then status=124; fi
  return "$status"
}

# clean FOLDER..: removes what is ours. An agent that is there does it, for it can tell whether
# another is measuring.
clean() {
  lock=$(lock_file)
  for folder do
    folder=$(home "$folder")
    if ours "$folder"; then
      for agent in "$folder"/pipeline-agent-*; do
        if [ -x "$agent" ]; then run 10 "" "$agent" clean --allow-root --lock "$lock" > /dev/null; fi
        if [ $? = 3 ]; then return 3; fi # in use
      done
      rm -rf "$folder" || return 73
      echo "removed $folder"
    fi
  done
}

# give SECONDS FILE, remove FOLDER
give() {
  within "$1" cat "$2"
}

remove() {
  rm -rf "$1"
}
