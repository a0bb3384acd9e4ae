/*
 * The floor: what the kernel itself takes for the interfaces, addresses and routes of a lab of networks.py, asked for
 * as directly as C can.
 *
 *     floor up NODES BRIDGES
 *     floor down NODES BRIDGES
 *
 * Nodes 1..NODES, each on one of br0, br1, … (10.0.0.0/16, 10.1.0.0/16, …), equally many one after the other, as labctl
 * makes them: a namespace mounted in a folder of ours with a name in /run/netns, a pair of interfaces made in place
 * with one queue each way, its own index, group, alias and MAC, no IPv6 in the node and no link-local address on the
 * host's end, and a default route. Nothing is checked beforehand and nothing written down. tests/kernel/test_floor.py
 * compares the two. Layouts: rtnetlink(7), include/uapi/linux/{if_link,veth}.h.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <fcntl.h>
#include <linux/veth.h>
#include <net/if.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "floor.h"

enum {
	GROUP = 0x666c6f6f,
	FIRST_BRIDGE = 3, FIRST_PAIR = 24, /* interface indexes, as labctl gives them */
	MTU = 1500,
	ADDR_GEN_NONE = 1,
	PROC_EACH = 100, /* namespaces that use the same /proc */
};
static const char FOLDER[] = "/run/floor", MOUNTS[] = "/run/floor/netns", NAMES[] = "/run/netns";

struct node {
	int number, index, bridge; /* index of eth0; its other end's is the next */
	uint32_t address, gateway;
	int fd, socket;
};

static int nodes, bridges;

static void write_file(int folder, const char *path, const char *text)
{
	int fd = check(openat(folder, path, O_WRONLY | O_CLOEXEC), path);

	check(write(fd, text, strlen(text)), path);
	close(fd);
}

/*
 * A /proc of our own, mounted nowhere. All namespaces have their sysctls under the same names in one folder, and the
 * kernel compares them one by one (fs/proc/proc_sysctl.c, proc_sys_compare): in the common /proc each look-up takes
 * the longer the more namespaces there are, 3 ms with 5000.
 */
static int fresh_proc(void)
{
	int context = check(fsopen("proc", FSOPEN_CLOEXEC), "fsopen"), fd;

	check(fsconfig(context, FSCONFIG_CMD_CREATE, NULL, NULL, 0), "fsconfig");
	fd = check(fsmount(context, FSMOUNT_CLOEXEC, 0), "fsmount");
	close(context);
	return fd;
}

static void identity(struct batch *batch, const char *name, const uint8_t *mac)
{
	text(batch, IFLA_IFNAME, name);
	attribute(batch, IFLA_ADDRESS, mac, 6);
}

static void mac_of(uint8_t *mac, uint32_t value)
{
	value = htonl(value);
	memcpy(mac, "\x02\x42", 2);
	memcpy(mac + 2, &value, sizeof(value));
}

/* What is known only after an interface is made: its mark, and that it wants no link-local address. */
static void settle(struct batch *batch, int index, const char *owner)
{
	char alias[64];
	const uint8_t none = ADDR_GEN_NONE;
	struct rtattr *spec, *inet6;

	link_message(batch, RTM_SETLINK, 0, index, 0);
	attribute(batch, IFLA_IFALIAS, alias, snprintf(alias, sizeof(alias), "floor:bench/%s", owner));
	spec = open_nest(batch, IFLA_AF_SPEC);
	inet6 = open_nest(batch, AF_INET6);
	attribute(batch, IFLA_INET6_ADDR_GEN_MODE, &none, sizeof(none));
	close_nest(batch, inet6);
	close_nest(batch, spec);
}

static void add_bridge(struct batch *batch, int bridge)
{
	char name[IFNAMSIZ];
	uint8_t mac[6];
	struct rtattr *info;

	snprintf(name, sizeof(name), "br%d", bridge);
	mac_of(mac, 0xf0000000u + bridge);
	link_message(batch, RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL, FIRST_BRIDGE + bridge, 0);
	identity(batch, name, mac);
	number(batch, IFLA_GROUP, GROUP);
	info = open_nest(batch, IFLA_LINKINFO);
	text(batch, IFLA_INFO_KIND, "bridge");
	close_nest(batch, info);
	settle(batch, FIRST_BRIDGE + bridge, name);
}

static void one_queue(struct batch *batch)
{
	number(batch, IFLA_MTU, MTU);
	number(batch, IFLA_NUM_TX_QUEUES, 1);
	number(batch, IFLA_NUM_RX_QUEUES, 1);
}

/* Both ends in place, under their final names, and the host's already a port of its bridge. */
static void add_pair(struct batch *batch, const struct node *node)
{
	char name[IFNAMSIZ], owner[32];
	uint8_t mac[6];
	struct rtattr *info, *data, *peer;
	struct ifinfomsg far = { .ifi_index = node->index };

	snprintf(name, sizeof(name), "veth%07x", (unsigned int)node->number & 0xfffffff);
	mac_of(mac, 0xe0000000u + node->number);
	link_message(batch, RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL, node->index + 1, 0);
	identity(batch, name, mac);
	number(batch, IFLA_GROUP, GROUP);
	number(batch, IFLA_MASTER, FIRST_BRIDGE + node->bridge);
	one_queue(batch);
	info = open_nest(batch, IFLA_LINKINFO);
	text(batch, IFLA_INFO_KIND, "veth");
	data = open_nest(batch, IFLA_INFO_DATA);
	peer = attribute(batch, VETH_INFO_PEER, &far, sizeof(far));
	mac_of(mac, node->address);
	identity(batch, "eth0", mac);
	one_queue(batch);
	number(batch, IFLA_NET_NS_FD, node->fd);
	close_nest(batch, peer);
	close_nest(batch, data);
	close_nest(batch, info);
	snprintf(owner, sizeof(owner), "node%d/eth0", node->number);
	settle(batch, node->index + 1, owner);
}

static void up(struct batch *batch, int index)
{
	link_message(batch, RTM_SETLINK, 0, index, IFF_UP);
}

static void add_address(struct batch *batch, int index, uint32_t address)
{
	struct ifaddrmsg *fixed = message(batch, RTM_NEWADDR, NLM_F_CREATE | NLM_F_EXCL, sizeof(*fixed));

	fixed->ifa_family = AF_INET;
	fixed->ifa_prefixlen = 16;
	fixed->ifa_index = index;
	number(batch, IFA_LOCAL, htonl(address));
	number(batch, IFA_ADDRESS, htonl(address));
	number(batch, IFA_BROADCAST, htonl(address | 0xffff));
}

static void add_default_route(struct batch *batch, int index, uint32_t gateway)
{
	struct rtmsg *fixed = message(batch, RTM_NEWROUTE, NLM_F_CREATE | NLM_F_EXCL, sizeof(*fixed));

	fixed->rtm_family = AF_INET;
	fixed->rtm_table = RT_TABLE_MAIN;
	fixed->rtm_protocol = RTPROT_BOOT;
	fixed->rtm_scope = RT_SCOPE_UNIVERSE;
	fixed->rtm_type = RTN_UNICAST;
	number(batch, RTA_GATEWAY, htonl(gateway));
	number(batch, RTA_OIF, index);
}

static void paths(const struct node *node, char *mount, char *name, size_t size)
{
	snprintf(mount, size, "%s/node%d", MOUNTS, node->number);
	snprintf(name, size, "%s/node%d", NAMES, node->number);
}

/* The thread stays in the new namespace. */
static void add_namespace(struct node *node, int proc)
{
	char target[64], name[64];

	paths(node, target, name, sizeof(target));
	check(unshare(CLONE_NEWNET), "unshare");
	write_file(proc, "sys/net/ipv6/conf/default/disable_ipv6", "1");
	close(check(open(target, O_RDONLY | O_CREAT | O_CLOEXEC, 0444), target));
	check(mount("/proc/thread-self/ns/net", target, NULL, MS_BIND, NULL), "mount");
	check(symlink(target, name), name);
	node->fd = check(open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC), "namespace");
	node->socket = netlink();
}

static void configure(struct batch *batch, const struct node *node)
{
	batch->socket = node->socket;
	up(batch, 1);
	up(batch, node->index);
	add_address(batch, node->index, node->address);
	add_default_route(batch, node->index, node->gateway);
	flush(batch);
}

static struct node *planned(void)
{
	struct node *all = calloc(nodes, sizeof(*all));
	int each = (nodes + bridges - 1) / bridges;

	if (!all)
		die("memory");
	for (int i = 0; i < nodes; i++) {
		all[i].number = i + 1;
		all[i].index = FIRST_PAIR + 2 * i;
		all[i].bridge = i / each;
		all[i].gateway = (10u << 24) + ((uint32_t)all[i].bridge << 16) + 1;
		all[i].address = all[i].gateway + 1 + i % each;
	}
	return all;
}

static void make_folders(void)
{
	struct rlimit files;

	check(getrlimit(RLIMIT_NOFILE, &files), "getrlimit");
	files.rlim_cur = files.rlim_max; /* two a node */
	check(setrlimit(RLIMIT_NOFILE, &files), "setrlimit");
	mkdir(NAMES, 0755);
	check(mkdir(FOLDER, 0700), FOLDER);
	check(mkdir(MOUNTS, 0700), MOUNTS);
	check(mount(MOUNTS, MOUNTS, NULL, MS_BIND, NULL), MOUNTS);
	check(mount("none", MOUNTS, NULL, MS_SHARED, NULL), MOUNTS);
}

static void build(struct batch *host, struct batch *inside)
{
	struct node *all = planned();
	int home = check(open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC), "namespace");

	make_folders();
	write_file(AT_FDCWD, "/proc/sys/net/ipv4/ip_forward", "1");
	host->socket = netlink();
	for (int i = 0, proc = -1; i < nodes; i++) {
		if (i % PROC_EACH == 0) {
			close(proc);
			proc = fresh_proc();
		}
		add_namespace(&all[i], proc);
	}
	check(setns(home, CLONE_NEWNET), "setns");
	for (int i = 0; i < bridges; i++)
		add_bridge(host, i);
	for (int i = 0; i < nodes; i++)
		add_pair(host, &all[i]);
	flush(host);
	for (int i = 0; i < nodes; i++)
		configure(inside, &all[i]);
	for (int i = nodes - 1; i >= 0; i--) /* a bridge looks at all its ports for each that comes up before it */
		up(host, all[i].index + 1);
	for (int i = 0; i < bridges; i++) {
		up(host, FIRST_BRIDGE + i);
		add_address(host, FIRST_BRIDGE + i, (10u << 24) + ((uint32_t)i << 16) + 1);
	}
	flush(host);
}

static void take_down(struct batch *host)
{
	struct node *all = planned();
	char target[64], name[64];

	host->socket = netlink();
	link_message(host, RTM_DELLINK, 0, 0, 0);
	number(host, IFLA_GROUP, GROUP);
	flush(host);
	check(umount2(MOUNTS, MNT_DETACH), MOUNTS);
	for (int i = 0; i < nodes; i++) {
		paths(&all[i], target, name, sizeof(target));
		unlink(target);
		unlink(name);
	}
	rmdir(MOUNTS);
	rmdir(FOLDER);
	rmdir(NAMES); /* where nobody else has a name in it */
	write_file(AT_FDCWD, "/proc/sys/net/ipv4/ip_forward", "0");
}

int main(int count, char **words)
{
	static struct batch host, inside;

	nodes = count == 4 ? atoi(words[2]) : 0;
	bridges = count == 4 ? atoi(words[3]) : 0;
	if (nodes < 1 || bridges < 1 || nodes > bridges * 1000 || bridges > 20) {
		fprintf(stderr, "usage: floor up|down NODES BRIDGES\n");
		return 2;
	}
	if (strcmp(words[1], "up") == 0)
		build(&host, &inside);
	else
		take_down(&host);
	_exit(0);
}
