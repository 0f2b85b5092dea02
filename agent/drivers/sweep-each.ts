/** One that cannot be removed now keeps none of the others. @throws what the first of those that stay says */
export async function sweepEach<Item>(items: readonly Item[], remove: (item: Item) => Promise<void>): Promise<void> {
  const failures: unknown[] = []
  for (const item of items) await remove(item).catch((error: unknown) => failures.push(error))
  if (failures.length > 0) throw failures[0]
}
