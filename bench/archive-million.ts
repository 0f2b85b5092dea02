import { mkdirSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { type OwnCost, ours, seconds } from './harness/archive-costs.ts'
import { MILLION, makeManyFiles } from './harness/many-files.ts'
import { mountPool } from './harness/pool.ts'
import { atMost, type Finding } from './harness/report.ts'
import { runBench, type Workbench } from './harness/workbench.ts'

/**
 * The memory of an agent's process that backs up, verifies or restores a million files, or all of `/usr`, and does nothing else.
 * Once each: memory does not depend on who else works here. An increment on top reads the whole index and finds nothing. A few files come first: who finds no
 * compiled code takes some 25 MiB more, which no agent does: its code is compiled before it starts.
 */
const FEW_FILES = 5_000
const IMAGE_BYTES = 48 * 2 ** 30
const TARGET_MIB = 150

await runBench(async (workbench) => {
  const pool = mountPool(workbench, IMAGE_BYTES)
  const files = Math.round(MILLION * workbench.scale)
  const tree = join(pool, 'tree')
  const found: Finding[] = []
  for (const count of [FEW_FILES, files]) {
    makeManyFiles(tree, count)
    found.push(...measure(workbench, pool, { title: `${count} files`, tree }))
    rmSync(tree, { recursive: true })
  }
  return [...found, ...measure(workbench, pool, { title: '/usr', tree: '/usr' })]
})

function measure(
  workbench: Workbench,
  pool: string,
  { title, tree }: { readonly title: string; readonly tree: string },
): readonly Finding[] {
  const points = join(pool, 'points')
  const back = join(pool, 'back')
  mkdirSync(points)
  const findings: Finding[] = []
  const note = (act: string, cost: OwnCost) => {
    workbench.say(`${title}, ${act}: ${cost.members} members, ${cost.peakMib.toFixed(0)} MiB, ${seconds(cost)}`)
    const figure = `${cost.peakMib.toFixed(0)} MiB; ${cost.members} members in ${seconds(cost)}`
    findings.push({ bench: `${act} of ${title}`, figure, peer: '', target: atMost(cost.peakMib, TARGET_MIB, ' MiB') })
  }
  note('backup', ours(workbench, 'backup', { tree, points, name: 'p0' }))
  note('verification', ours(workbench, 'verify', { points, name: 'p0' }))
  note('increment', ours(workbench, 'backup', { tree, points, name: 'p1', base: 'p0' }))
  note('restore', ours(workbench, 'restore', { tree: back, points, name: 'p1', base: 'p0' }))
  for (const directory of [points, back]) rmSync(directory, { recursive: true })
  return findings
}
