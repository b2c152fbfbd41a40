// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Debian's static libelf (0.192) lacks a part of itself: a tree of the raw chunks
 * that were asked for.  libbpf asks for none, so it stays empty.
 */
struct search_tree;

void eu_search_tree_init(struct search_tree *tree);
void eu_search_tree_fini(struct search_tree *tree, void (*free_node)(void *));

void eu_search_tree_init(struct search_tree *tree)
{
	(void)tree;
}

void eu_search_tree_fini(struct search_tree *tree, void (*free_node)(void *))
{
	(void)tree;
	(void)free_node;
}
