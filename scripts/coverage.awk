# Reads lcov's lines of DA:LINE,COUNT; prints a table of the parts that matter. Tests within a file do not count.
function part_of(file) {
    if (file ~ /^dataplane\/src\/wire\//) return "wire/"
    if (file == "dataplane/src/guard.rs") return "guard"
    if (file ~ /^dataplane\/src\/(conntrack|admission)\/fragments?\.rs$/) return "fragments"
    if (file ~ /^dataplane\/src\/conntrack\//) return "conntrack/"
    return ""
}
# The line at which the file's own tests begin.
function tests_begin(path,   line, number) {
    number = 0
    while ((getline line < path) > 0) {
        number++
        if (line ~ /^#\[cfg\((all\()?(test|septum_loom)/) { close(path); return number }
    }
    close(path)
    return 1e9
}
/^SF:/ {
    path = substr($0, 4); file = path
    sub(root, "", file)
    part = file ~ /_tests\.rs$/ ? "" : part_of(file)
    if (part != "") end = tests_begin(path)
}
/^DA:/ && part != "" {
    split(substr($0, 4), field, ",")
    if (field[1] >= end) next
    all[file]++; partly[part]++; of[file] = part
    if (field[2] > 0) { reached[file]++; partly_reached[part]++ }
    else missed[file] = missed[file] " " field[1]
}
function percent(some, whole) { return 100 * some / whole }
END {
    sort = "sort"
    printf "%-46s %6s %8s  %s\n", "file", "lines", "reached", "not reached"
    for (file in all)
        printf "%-46s %6d %6.1f %%  %s\n", file, all[file], percent(reached[file], all[file]), missed[file] | sort
    close(sort)
    print ""
    for (part in partly) {
        share = percent(partly_reached[part], partly[part])
        printf "%-46s %6d %6.1f %%%s\n", part, partly[part], share, share < least ? "  TOO FEW" : ""
        if (share < least) failed = 1
        parts++
    }
    if (parts != 4) { print "not all parts were measured"; failed = 1 }
    exit failed
}
