import { lazy, Suspense, useEffect, type ReactNode } from 'react';
import { useTranslation } from 'react-i18next';
import { Link, Navigate, Route, Routes, useLocation } from 'react-router';
import { Button } from '@mantine/core';
import { Shell } from './components/shell';
import { Empty, Waiting } from './components/states';
import { SignIn } from './pages/SignIn';
import { useVisitor } from './session';

const Dashboard = lazy(() => import('./pages/Dashboard'));
const Keys = lazy(() => import('./pages/Keys'));
const Usage = lazy(() => import('./pages/Usage'));
const Logs = lazy(() => import('./pages/Logs'));
const Billing = lazy(() => import('./pages/Billing'));
const Models = lazy(() => import('./pages/Models'));
const Settings = lazy(() => import('./pages/Settings'));
const Playground = lazy(() => import('./pages/Playground'));
const Conversations = lazy(() => import('./pages/Conversations'));
const Policies = lazy(() => import('./pages/Policies'));
const Overview = lazy(() => import('./pages/operator/Overview'));
const Clients = lazy(() => import('./pages/operator/Clients'));
const Client = lazy(() => import('./pages/operator/Client'));
const Providers = lazy(() => import('./pages/operator/Providers'));
const Traffic = lazy(() => import('./pages/operator/Traffic'));
const Groups = lazy(() => import('./pages/operator/Groups'));
const Users = lazy(() => import('./pages/operator/Users'));
const Catalogue = lazy(() => import('./pages/operator/Catalogue'));
const Vouchers = lazy(() => import('./pages/operator/Vouchers'));
const Audit = lazy(() => import('./pages/operator/Audit'));
const SignUp = lazy(() => import('./pages/Entrance').then((m) => ({ default: m.SignUp })));
const Invitation = lazy(() => import('./pages/Entrance').then((m) => ({ default: m.Invitation })));
const Reset = lazy(() => import('./pages/Entrance').then((m) => ({ default: m.Reset })));
const Status = lazy(() => import('./pages/Status'));
const Docs = lazy(() => import('./docs/Docs'));
const Pricing = lazy(() => import('./pages/Pricing'));
const Prices = lazy(() => import('./pages/operator/Prices'));

/** Signed lets only people in; the server decides again with every call. */
function Signed({ children, as = 'anybody' }: { children: ReactNode; as?: 'anybody' | 'customer' | 'operator' }) {
  const { t } = useTranslation();
  const { user } = useVisitor();
  const { pathname, search } = useLocation();
  if (user === null) return <Navigate to={`/console/sign-in?next=${encodeURIComponent(pathname + search)}`} replace />;
  if (as === 'customer' && !user.client_id) {
    if (pathname === '/console') return <Navigate to="/console/operator" replace />;
    return <Empty title={t('dash.noClient')} text={t('dash.noClientText')} />;
  }
  if (as === 'operator' && !user.operator) return <Missing />;
  return children;
}

function Missing() {
  const { t } = useTranslation();
  return (
    <Empty title={t('common.notFound')} text={t('common.notFoundText')}>
      <Button component={Link} to="/console" variant="light" mt="sm">
        {t('common.home')}
      </Button>
    </Empty>
  );
}

const open = (page: ReactNode) => <Suspense fallback={<Waiting full />}>{page}</Suspense>;
const customer = (page: ReactNode) => <Signed as="customer">{page}</Signed>;
const operator = (page: ReactNode) => <Signed as="operator">{page}</Signed>;

export function Pages() {
  const { site } = useVisitor();
  const { pathname, search } = useLocation();
  // Which page is there, once it is: not while the next one is still being fetched.
  useEffect(() => void (document.documentElement.dataset.at = pathname + search), [pathname, search]);
  useEffect(() => {
    // The public pages have titles of their own.
    if (pathname.startsWith('/console')) document.title = site.brand;
  }, [pathname, site.brand]);
  return (
    <Routes>
      <Route path="/console/sign-in" element={<SignIn />} />
      <Route path="/console/sign-up" element={open(<SignUp />)} />
      <Route path="/console/invitation" element={open(<Invitation />)} />
      <Route path="/console/reset" element={open(<Reset />)} />
      <Route path="/status" element={open(<Status />)} />
      <Route path="/docs" element={open(<Docs />)} />
      <Route path="/docs/pricing" element={open(<Pricing />)} />
      <Route path="/docs/:slug" element={open(<Docs />)} />
      <Route path="/console" element={<Shell />}>
        <Route index element={customer(<Dashboard />)} />
        <Route path="api-keys" element={customer(<Keys />)} />
        <Route path="usage" element={customer(<Usage />)} />
        <Route path="logs" element={customer(<Logs />)} />
        <Route path="billing" element={customer(<Billing />)} />
        <Route path="playground" element={customer(<Playground />)} />
        <Route path="conversations" element={customer(<Conversations />)} />
        <Route path="policies" element={customer(<Policies />)} />
        <Route path="models" element={<Models />} />
        <Route path="settings" element={<Signed><Settings /></Signed>} />
        <Route path="operator" element={operator(<Overview />)} />
        <Route path="operator/clients" element={operator(<Clients />)} />
        <Route path="operator/clients/:id" element={operator(<Client />)} />
        <Route path="operator/traffic" element={operator(<Traffic />)} />
        <Route path="operator/providers" element={operator(<Providers />)} />
        <Route path="operator/users" element={operator(<Users />)} />
        <Route path="operator/models" element={operator(<Catalogue />)} />
        <Route path="operator/groups" element={operator(<Groups />)} />
        <Route path="operator/vouchers" element={operator(<Vouchers />)} />
        <Route path="operator/audit" element={operator(<Audit />)} />
        <Route path="operator/prices" element={operator(<Prices />)} />
        <Route path="*" element={<Missing />} />
      </Route>
      <Route path="*" element={<Navigate to="/console" replace />} />
    </Routes>
  );
}
