import { execFileSync } from 'node:child_process'
import { closeSync, mkdirSync, mkdtempSync, openSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { LocalSink } from '../agent/archive/local-sink.ts'
import { writeArchive } from '../agent/archive/write-archive.ts'

/**
 * Writes an archive of a tree beside `tar c | tee >(openssl dgst -sha256) | zstd -T0 -3`, in turns, wall and CPU.
 * `node bench/archive.ts [tree] [rounds]`; without a tree, of 100,000 files of 4 KiB that it makes. Ours also hashes every
 * member and every frame, indexes them, and syncs what it wrote.
 */
const FILES = 100_000
const FILES_IN_DIRECTORY = 1_000
const PEER = `
mkfifo "$2/pipe"; openssl dgst -sha256 < "$2/pipe" > "$2/sum" & hashing=$!
tar c -C "$1" . | tee "$2/pipe" | zstd -T0 -3 -q -f -o "$2/peer.tar.zst"; wait $hashing; rm "$2/pipe"; times`

interface Cost {
  readonly wallMs: number
  readonly cpuMs: number
}

function makeTree(tree: string): void {
  const content = Buffer.alloc(4_096, 'some text of the kind that files hold, ')
  for (let file = 0; file < FILES; file += 1) {
    const directory = join(tree, `d${Math.floor(file / FILES_IN_DIRECTORY)}`)
    if (file % FILES_IN_DIRECTORY === 0) mkdirSync(directory, { recursive: true })
    content.write(`${Math.sin(file)} ${Math.cos(file)}`)
    writeFileSync(join(directory, `file-${file}`), content)
  }
}

async function ours(tree: string, home: string): Promise<Cost> {
  const rootFd = openSync(tree, 'r')
  const [startedMs, before] = [performance.now(), process.cpuUsage()]
  const request = { subject: 'bench', compression: 'zstd', scratch: home } as const
  const watch = { signal: new AbortController().signal, progress: () => undefined }
  await writeArchive({ ...request, rootFd, sink: new LocalSink(home, 'point') }, watch)
  const { user, system } = process.cpuUsage(before)
  closeSync(rootFd)
  rmSync(join(home, 'point'), { recursive: true })
  return { wallMs: performance.now() - startedMs, cpuMs: (user + system) / 1_000 }
}

/** The last line of `times` is the user and system time of the children that were waited for: `0m1.234s 0m0.567s`. */
function peer(tree: string, home: string): Cost {
  const startedMs = performance.now()
  const told = execFileSync('/bin/bash', ['-c', PEER, 'peer', tree, home]).toString()
  const wallMs = performance.now() - startedMs
  const times = [...(told.trim().split('\n').at(-1) ?? '').matchAll(/(\d+)m([\d.]+)s/g)]
  return {
    wallMs,
    cpuMs: times.reduce((sum, [, minutes, seconds]) => sum + Number(minutes) * 60_000 + Number(seconds) * 1_000, 0),
  }
}

function median(values: readonly number[]): number {
  return values.toSorted((a, b) => a - b)[Math.floor(values.length / 2)] ?? Number.NaN
}

const [given, rounds = '5'] = process.argv.slice(2)
const home = mkdtempSync('/var/tmp/holdfast-archive-bench-')
try {
  const tree = given !== undefined ? given : join(home, 'tree')
  if (given === undefined) makeTree(tree)
  const costs: { readonly ours: Cost; readonly peer: Cost }[] = []
  for (let round = 0; round <= Number(rounds); round += 1) {
    // Who goes first alternates, so neither always finds the caches warm; the first round only warms them.
    const first = round % 2 === 0 ? await ours(tree, home) : undefined
    const theirs = peer(tree, home)
    const cost = { ours: first ?? (await ours(tree, home)), peer: theirs }
    if (round > 0) costs.push(cost)
  }
  for (const key of ['wallMs', 'cpuMs'] as const) {
    const [own, other] = [median(costs.map((cost) => cost.ours[key])), median(costs.map((cost) => cost.peer[key]))]
    console.log(
      `${key}: holdfast ${own.toFixed(0)}, tar|openssl|zstd ${other.toFixed(0)}, ratio ${(own / other).toFixed(2)}`,
    )
  }
  console.log(
    `peak RSS ${/VmHWM:\s+(\d+)/.exec(readFileSync('/proc/self/status', 'utf8'))?.[1]} KiB, types stripped at start included`,
  )
} finally {
  rmSync(home, { recursive: true })
}
