/** Any numbers, as long as no two are the same: whoever holds one keeps others from doing the same thing at that moment. */
export const ADVISORY_LOCKS = {
  /** Migrates; held by a session. */
  migration: 4_106_821,
  /** Takes an admin of the fleet away. */
  stewards: 4_106_822,
  /** Replaces the claims of NATS' account. */
  claims: 4_106_823,
  /** Gives out the slots of hosts and targets to runs of schedules. */
  slots: 4_106_824,
  /** Begins a backup of the station. */
  station: 4_106_825,
  /** Decides on volumes and exports, or writes what became of them. */
  volumes: 4_106_826,
} as const
