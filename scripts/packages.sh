# Sourced by the run scripts. need_packages PACKAGE...: installs those that are missing, on Debian and Ubuntu, as root or
# with sudo. Elsewhere it is up to the user to have them.
build_packages="gcc libc6-dev make cmake pkg-config"
http_packages="libcurl4-openssl-dev libjansson-dev libmicrohttpd-dev"
png_packages="libpng-dev"
loop_packages="libuv1-dev libglib2.0-dev"
metrics_packages="python3 python3-prometheus-client"

need_packages() {
	local package status missing=() as_root=()
	command -v dpkg-query >/dev/null || return 0
	for package; do
		status=$(dpkg-query -W -f '${db:Status-Status}\n' "$package" 2>/dev/null) || true
		grep -qx installed <<<"$status" || missing+=("$package")
	done
	((${#missing[@]})) || return 0
	((EUID == 0)) || as_root=(sudo)
	echo "installing ${missing[*]}" >&2
	local install=("${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends)
	# The lists of packages can be absent or out of date: then fetch them, and once more.
	"${install[@]}" "${missing[@]}" >/dev/null 2>&1 ||
		{ "${as_root[@]}" apt-get update -q >&2 && "${install[@]}" "${missing[@]}" >&2; }
}
