import { mkdirSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { findTool } from '../../deploy/tools.ts'
import { theirs } from './archive-costs.ts'
import type { Workbench } from './workbench.ts'

/** A repository of restic (Debian's package) on this machine's disk. */
export interface Restic {
  /** An empty repository takes the place of what there was. */
  begin(): void
  /** @returns milliseconds */
  backup(): number
  end(): void
}

/** @returns undefined where restic is not installed, which is told */
export function openRestic(workbench: Workbench, tree: string, name: string): Restic | undefined {
  if (findTool('restic') === undefined) {
    workbench.say('SKIPPED: restic is not installed')
    return undefined
  }
  const home = join(workbench.folder, name)
  const environment = {
    HOME: home,
    RESTIC_REPOSITORY: join(home, 'repository'),
    RESTIC_PASSWORD: 'bench',
    RESTIC_CACHE_DIR: join(home, 'cache'),
  }
  const end = () => rmSync(home, { recursive: true, force: true })
  return {
    begin() {
      end()
      mkdirSync(home)
      theirs('restic -q init', [], environment)
    },
    backup: () => theirs('cd "$1"; restic -q backup .', [tree], environment).wallMs,
    end,
  }
}
