import { useQuery, useQueryClient, type QueryClient } from '@tanstack/react-query';
import { createContext, useContext, useEffect, type ReactNode } from 'react';
import { get, setGuard, whenSignedOut, type Visitor } from './api';
import { Broken, Waiting } from './components/states';

export const visitorKey = ['visitor'] as const;

const Context = createContext<Visitor | null>(null);

export function useVisitor(): Visitor {
  const visitor = useContext(Context);
  if (visitor === null) throw new Error('useVisitor is used outside of Session');
  return visitor;
}

/** become makes the page another visitor's: what the one before had read is forgotten. */
export function become(client: QueryClient, visitor: Visitor): void {
  client.removeQueries({ predicate: (q) => q.queryKey[0] !== visitorKey[0] });
  client.setQueryData(visitorKey, visitor);
}

/** Session knows who is signed in before anything else is shown. */
export function Session({ children }: { children: ReactNode }) {
  const client = useQueryClient();
  const visitor = useQuery({ queryKey: visitorKey, queryFn: ({ signal }) => get<Visitor>('/console/api/session', {}, signal), staleTime: 60_000, refetchOnWindowFocus: true });
  useEffect(() => whenSignedOut(() => void client.invalidateQueries({ queryKey: visitorKey })), [client]);
  if (visitor.data === undefined) return visitor.error ? <Broken error={visitor.error} retry={() => void visitor.refetch()} full /> : <Waiting full />;
  // Before the children render, so that the first change that one of them makes has it.
  setGuard(visitor.data.guard);
  return <Context.Provider value={visitor.data}>{children}</Context.Provider>;
}
