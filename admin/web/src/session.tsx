import { useQuery, useQueryClient, type QueryClient } from '@tanstack/react-query';
import { createContext, useContext, useEffect, useRef, type ReactNode } from 'react';
import { get, setGuard, whenSignedOut, type Visitor } from './api';
import { SignInAgain } from './components/again';
import { Broken, Waiting } from './components/states';

export const visitorKey = ['visitor'] as const;

const Context = createContext<Visitor | null>(null);

export function useVisitor(): Visitor {
  const visitor = useContext(Context);
  if (visitor === null) throw new Error('useVisitor is used outside of Session');
  return visitor;
}

/** Known is a visitor; meant says that the page was given to them, and did not just lose who it had. */
type Known = Visitor & { meant?: boolean };

/** become makes the page another visitor's: what the one before had read is forgotten. */
export function become(client: QueryClient, visitor: Visitor): void {
  client.removeQueries({ predicate: (q) => q.queryKey[0] !== visitorKey[0] });
  client.setQueryData<Known>(visitorKey, { ...visitor, meant: true });
}

/** Session knows who is signed in before anything else is shown. */
export function Session({ children }: { children: ReactNode }) {
  const client = useQueryClient();
  const visitor = useQuery({ queryKey: visitorKey, queryFn: ({ signal }) => get<Known>('/console/api/session', {}, signal), staleTime: 60_000, refetchOnWindowFocus: true });
  const last = useRef<Visitor | null>(null);
  useEffect(() => whenSignedOut(() => void client.invalidateQueries({ queryKey: visitorKey })), [client]);
  if (visitor.data === undefined) return visitor.error ? <Broken error={visitor.error} retry={() => void visitor.refetch()} full /> : <Waiting full />;
  // Before the children render, so that the first change that one of them makes has it.
  setGuard(visitor.data.guard);
  if (visitor.data.user !== null || visitor.data.meant) last.current = visitor.data;
  // A page that was somebody's stays as it is until they are back: nothing typed is lost.
  const lost = visitor.data.user === null && last.current?.user ? last.current : null;
  return (
    <Context.Provider value={lost ?? visitor.data}>
      {children}
      {lost?.user ? <SignInAgain email={lost.user.email} /> : null}
    </Context.Provider>
  );
}
