# Sourced by the scripts that count instructions, with valgrind's callgrind.

# all_instructions COMMAND...: those of the whole program
all_instructions() {
	valgrind --tool=callgrind --callgrind-out-file=/dev/null "$@" 2>&1 | sed -nE 's/^.*Collected : ([0-9]+).*$/\1/p'
}

# instructions PATHS NAME: those of going that path once (bench/paths.c)
instructions() {
	local one two
	one=$(all_instructions "$1" "$2" 1000) two=$(all_instructions "$1" "$2" 11000) # the timer thread's share varies
	echo $(((two - one + 5000) / 10000))
}
