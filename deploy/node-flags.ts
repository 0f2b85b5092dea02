/** How our two programs are run wherever we run them: `npm start`, the systemd units (a test compares), the benches. */

interface Program {
  readonly flags: readonly string[]
  readonly environment: Readonly<Record<string, string>>
}

/**
 * An agent is a guest on a storage host: these keep an idle one below 75 MiB. glibc would raise the threshold with the first large buffer that is freed,
 * and keep 60 MiB and more of holes between what lives on behind it.
 */
export const AGENT: Program = {
  flags: ['--max-semi-space-size=1', '--no-parallel-scavenge', '--optimize-for-size', '--no-maglev'],
  environment: { MALLOC_ARENA_MAX: '1', MALLOC_MMAP_THRESHOLD_: '131072' },
}

/** Node would let the young generation grow with the machine's memory; 10,000 beating hosts need none of that. */
export const CONTROL_PLANE: Program = {
  flags: ['--max-semi-space-size=16'],
  environment: { MALLOC_ARENA_MAX: '2' },
}
