/*
 * rtnetlink messages, many in one datagram: the codec and the transport of floor.c.
 */
#include <errno.h>
#include <linux/if_link.h>
#include <linux/rtnetlink.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

enum { BATCH = 64 * 1024, LONGEST = 512 }; /* bytes of a datagram, and of a message */

struct batch {
	int socket;
	uint32_t sequence;
	size_t length;
	struct nlmsghdr *last;
	char data[BATCH];
};

static void die(const char *what)
{
	fprintf(stderr, "floor: %s: %s\n", what, strerror(errno));
	exit(1);
}

static int check(int result, const char *what)
{
	if (result < 0)
		die(what);
	return result;
}

static int netlink(void)
{
	return check(socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE), "socket");
}

/* One send for all that waits; only the last message asks for an answer, but refusals come for any. */
static void flush(struct batch *batch)
{
	char answer[8192];
	struct nlmsghdr *header = (void *)answer;
	struct nlmsgerr *error = NLMSG_DATA(header);

	if (!batch->length)
		return;
	batch->last->nlmsg_flags |= NLM_F_ACK;
	check(send(batch->socket, batch->data, batch->length, 0), "send");
	check(recv(batch->socket, answer, sizeof(answer), 0), "recv");
	if (error->error) {
		errno = -error->error;
		fprintf(stderr, "floor: message %u of type %u\n", error->msg.nlmsg_seq, error->msg.nlmsg_type);
		die("refused");
	}
	batch->length = 0;
}

static void *message(struct batch *batch, int type, int flags, size_t size)
{
	struct nlmsghdr *header;

	if (batch->length + LONGEST > BATCH)
		flush(batch);
	header = batch->last = (void *)(batch->data + batch->length);
	memset(header, 0, NLMSG_SPACE(size));
	header->nlmsg_len = NLMSG_SPACE(size);
	header->nlmsg_type = type;
	header->nlmsg_flags = NLM_F_REQUEST | flags;
	header->nlmsg_seq = ++batch->sequence;
	batch->length += NLMSG_SPACE(size);
	return NLMSG_DATA(header);
}

static struct rtattr *attribute(struct batch *batch, int type, const void *payload, size_t size)
{
	struct rtattr *rta = (void *)(batch->data + batch->length);

	rta->rta_type = type;
	rta->rta_len = RTA_LENGTH(size);
	if (payload)
		memcpy(RTA_DATA(rta), payload, size);
	batch->length += RTA_SPACE(size);
	batch->last->nlmsg_len += RTA_SPACE(size);
	return rta;
}

static void number(struct batch *batch, int type, uint32_t value)
{
	attribute(batch, type, &value, sizeof(value));
}

static void text(struct batch *batch, int type, const char *value)
{
	attribute(batch, type, value, strlen(value) + 1);
}

static struct rtattr *open_nest(struct batch *batch, int type)
{
	return attribute(batch, type, NULL, 0);
}

static void close_nest(struct batch *batch, struct rtattr *nest)
{
	nest->rta_len = batch->data + batch->length - (char *)nest;
}

static void link_message(struct batch *batch, int type, int flags, int index, unsigned int set)
{
	struct ifinfomsg *link = message(batch, type, flags, sizeof(*link));

	link->ifi_index = index;
	link->ifi_flags = link->ifi_change = set;
}
