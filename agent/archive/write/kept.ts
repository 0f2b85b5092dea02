import { letToolsGo } from './frame-tools.ts'
import { letThreadGo } from './write-thread.ts'

/** What writers keep for the next of them: some 50 MiB, which whoever reads an archive would need beside its own. */
export function letWritersGo(): void {
  letToolsGo()
  letThreadGo()
}
