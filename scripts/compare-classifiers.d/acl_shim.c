/*
 * DPDK's ACL library behind six functions, for scripts/compare-classifiers to load at run time.
 *
 * The peer gets what helps it: its tables are asked to lie on huge pages, and the cap of 256-bit vectors that DPDK
 * sets by default is lifted. rte_acl is documented in the "Packet Classification and Access Control" chapter
 * of DPDK's programmer's guide.
 */
#define _GNU_SOURCE
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include <rte_acl.h>
#include <rte_eal.h>
#include <rte_log.h>
#include <rte_malloc.h>
#include <rte_memory.h>

/* A filter: addresses and ports in the host's order. */
struct filter {
	uint32_t source, destination;
	uint16_t source_first, source_last;
	uint16_t destination_first, destination_last;
	uint8_t protocol, protocol_mask, source_length, destination_length;
};

/* A packet's fields as ACL reads them: in network order, addresses and ports at multiples of four bytes. */
struct packet {
	uint8_t protocol, padding[3];
	uint32_t source, destination;
	uint16_t source_port, destination_port;
};

enum { PROTOCOL, SOURCE, DESTINATION, SOURCE_PORT, DESTINATION_PORT, FIELDS };

static const struct rte_acl_field_def fields[FIELDS] = {
	{ RTE_ACL_FIELD_TYPE_BITMASK, 1, PROTOCOL, 0, offsetof(struct packet, protocol) },
	{ RTE_ACL_FIELD_TYPE_MASK, 4, SOURCE, 1, offsetof(struct packet, source) },
	{ RTE_ACL_FIELD_TYPE_MASK, 4, DESTINATION, 2, offsetof(struct packet, destination) },
	{ RTE_ACL_FIELD_TYPE_RANGE, 2, SOURCE_PORT, 3, offsetof(struct packet, source_port) },
	{ RTE_ACL_FIELD_TYPE_RANGE, 2, DESTINATION_PORT, 3, offsetof(struct packet, destination_port) },
};

RTE_ACL_RULE_DEF(acl_rule, FIELDS);

/* Without memfd, --no-huge takes anonymous memory, and that can be asked to be huge after all. */
int memfd_create(const char *name, unsigned int flags)
{
	(void)name;
	(void)flags;
	return -1;
}

static int ask_for_huge_pages(const struct rte_memseg_list *list, const struct rte_memseg *segment, void *unused)
{
	(void)list;
	(void)unused;
	(void)madvise(segment->addr, segment->len, MADV_HUGEPAGE);
	return 0;
}

/* Once a process. Negative on failure. */
int acl_shim_init(unsigned int mebibytes)
{
	char memory[16];
	snprintf(memory, sizeof memory, "%u", mebibytes);
	char *arguments[] = { "compare-classifiers", "--force-max-simd-bitwidth=512", "--no-huge", "-m", memory,
		"--no-pci", "--no-telemetry", "--no-shconf", "-l", "0", "--log-level=*:critical" };
	int done = rte_eal_init(sizeof arguments / sizeof *arguments, arguments);
	if (done >= 0)
		rte_memseg_walk(ask_for_huge_pages, NULL);
	return done;
}

static size_t allocated(void)
{
	struct rte_malloc_socket_stats stats;
	rte_malloc_get_socket_stats(0, &stats);
	return stats.heap_allocsz_bytes;
}

/* The compiled filters, the first being the most important; NULL on failure. */
void *acl_shim_build(const struct filter *filters, uint32_t count, size_t *memory)
{
	struct rte_acl_param parameters = {
		.name = "compare", .socket_id = 0, .rule_size = RTE_ACL_RULE_SZ(FIELDS), .max_rule_num = count,
	};
	struct rte_acl_ctx *acl = rte_acl_create(&parameters);
	struct acl_rule *rules = calloc(count, sizeof *rules);
	if (!acl || !rules)
		return NULL;
	for (uint32_t at = 0; at < count; at++) {
		const struct filter *filter = &filters[at];
		struct acl_rule *rule = &rules[at];
		rule->data.userdata = at + 1;
		rule->data.category_mask = 1;
		rule->data.priority = count - at;
		rule->field[PROTOCOL].value.u8 = filter->protocol;
		rule->field[PROTOCOL].mask_range.u8 = filter->protocol_mask;
		rule->field[SOURCE].value.u32 = filter->source;
		rule->field[SOURCE].mask_range.u32 = filter->source_length;
		rule->field[DESTINATION].value.u32 = filter->destination;
		rule->field[DESTINATION].mask_range.u32 = filter->destination_length;
		rule->field[SOURCE_PORT].value.u16 = filter->source_first;
		rule->field[SOURCE_PORT].mask_range.u16 = filter->source_last;
		rule->field[DESTINATION_PORT].value.u16 = filter->destination_first;
		rule->field[DESTINATION_PORT].mask_range.u16 = filter->destination_last;
	}
	size_t before = allocated();
	struct rte_acl_config config = { .num_categories = 1, .num_fields = FIELDS, .max_size = 0 };
	memcpy(config.defs, fields, sizeof fields);
	int failed = rte_acl_add_rules(acl, (struct rte_acl_rule *)rules, count) || rte_acl_build(acl, &config);
	free(rules);
	if (failed) {
		rte_acl_free(acl);
		return NULL;
	}
	*memory = allocated() - before;
	return acl;
}

/* `bits`: 512 or 256. Not zero when this processor or this DPDK has no such vectors. */
int acl_shim_vectors(void *acl, unsigned int bits)
{
	return rte_acl_set_ctx_classify(acl, bits == 512 ? RTE_ACL_CLASSIFY_AVX512X32 : RTE_ACL_CLASSIFY_AVX2);
}

/* For each packet one more than the index of its filter, or zero. */
int acl_shim_classify(void *acl, const uint8_t **packets, uint32_t *matches, uint32_t count)
{
	return rte_acl_classify(acl, packets, matches, count, 1);
}

void acl_shim_free(void *acl)
{
	rte_acl_free(acl);
}
