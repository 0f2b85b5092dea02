import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { type Finding, table } from './harness/report.ts'

/**
 * `npm run bench [-- name…]`: the named benches or all, one after the other, each in a process of its own with servers of
 * its own. `--rounds=9` for a noisy machine; `--scale=0.05` for a short look at the archives' benches; `--profile=<directory>` keeps processor profiles of our processes there.
 * Nothing is written into the repository. Exits 1 when a target is missed, 2 when a bench broke.
 */

const BENCHES = [
  'floor',
  'roundtrip',
  'throughput',
  'auth',
  'flat',
  'beats',
  'feed',
  'progress',
  'firing',
  'freeze',
  'idle',
  'tree-restore',
  'archive',
  'archive-peers',
  'archive-million',
  'points',
  'points-elsewhere',
  'points-large',
  'points-million',
  'one-file',
  'uploads',
  'volume-backup',
  'exports',
  'clones',
  'backup-list',
]

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: { profile: { type: 'string' }, rounds: { type: 'string' }, scale: { type: 'string' } },
})
const flags = Object.entries(values).map(([name, value]) => `--${name}=${value}`)
const unknown = positionals.filter((name) => !BENCHES.includes(name))
if (unknown.length > 0) {
  console.error(`no such bench: ${unknown.join(', ')}; there are ${BENCHES.join(', ')}`)
  process.exit(2)
}

const findings: Finding[] = []
let broken = false
for (const name of positionals.length > 0 ? positionals : BENCHES) {
  const entry = join(import.meta.dirname, `${name}.ts`)
  if (!existsSync(entry)) continue
  console.error(`\n${name}`)
  const child = spawn(process.execPath, [entry, ...flags], { stdio: ['ignore', 'inherit', 'inherit', 'ipc'] })
  // as: `runBench` sends exactly this, from a file beside this one
  child.on('message', (found) => findings.push(...(found as Finding[])))
  const [code] = await once(child, 'exit')
  if (code === 0) continue
  broken = true
  findings.push({ bench: name, figure: 'broke', peer: '', target: { words: 'to run', met: false } })
}

console.log(table(findings))
process.exit(broken ? 2 : findings.some(({ target }) => target?.met === false) ? 1 : 0)
