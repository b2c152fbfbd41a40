# SPDX-License-Identifier: GPL-2.0-or-later
# What a web server's log says: requests and bytes per page and status, requests per hour, errors per network.
{
	split($4, when, ":")
	split($1, host, ".")
	hours[when[2]]++
	pages[$7]++
	bytes[$7] += $10
	if ($9 >= 400)
		errors[host[1] "." host[2] "." host[3]]++
	statuses[$9]++
}
END {
	for (status in statuses)
		print "status", status, statuses[status]
	for (hour in hours)
		print "hour", hour, hours[hour]
	for (page in pages)
		if (pages[page] > NR / 1000)
			print "page", page, pages[page], bytes[page]
	for (network in errors)
		if (errors[network] > most) {
			most = errors[network]
			worst = network
		}
	print "worst network", worst, most
}
