import { existsSync } from 'node:fs'

const SYSTEMD_RUN = '/usr/bin/systemd-run'
/** sd_booted(3) */
const BOOTED = '/run/systemd/system'

/**
 * How a daemon is started that is to outlive us: where systemd runs, as a service of its own, because what a service starts
 * keeps its bounds for ever (capabilities, NoNewPrivileges), and may end with it. Elsewhere as it is.
 * @param command of a program that ends once its daemon runs
 */
export function inOwnService(
  command: readonly [file: string, ...args: string[]],
  isThere: (path: string) => boolean = existsSync,
): readonly [file: string, ...args: string[]] {
  if (!isThere(BOOTED) || !isThere(SYSTEMD_RUN)) return command
  return [SYSTEMD_RUN, '--quiet', '--collect', '--service-type=forking', '--property=Delegate=yes', '--', ...command]
}
