// An SMTP sink that is not the bottleneck: epoll, content found by memmem, replies after an optional delay.
// fastsink PORT [DELAY_MS] [LOG]; SIGTERM prints {"msgs", "bytes", "conns"} on stderr. It ends with its parent (Linux).
// LOG gets a line "recipient seconds" for each message that is accepted, written before the reply is.
#define _GNU_SOURCE
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <errno.h>
#include <signal.h>
#include <time.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <arpa/inet.h>
#include <fcntl.h>
typedef struct { int fd, st, len, gen; char tail[4]; char buf[4096]; char rcpt[256]; char out[1024]; int outlen; } C;
static volatile sig_atomic_t stop; static long nmsg, nbytes, nconn; static int dly, lf=-1;
static void onterm(int s){stop=1;}
typedef struct {double due;int fd,gen,n;char s[256];} Q; static Q*q; static int qh,qt,qcap=65536;
static C*cs[65536];
static double now(){struct timespec t;clock_gettime(CLOCK_MONOTONIC,&t);return t.tv_sec+t.tv_nsec*1e-9;}
static void flushc(C*c){ if(!c->outlen)return; if(dly){ Q*e=&q[qt];qt=(qt+1)%qcap; if(qt==qh){fprintf(stderr,"queue full\n");exit(3);} e->due=now()+dly*1e-3;e->fd=c->fd;e->gen=c->gen;e->n=c->outlen>256?256:c->outlen;memcpy(e->s,c->out,e->n);} else if(write(c->fd,c->out,c->outlen)<0){} c->outlen=0; }
static void say(C*c,const char*s){int n=strlen(s); if(c->outlen+n>(dly?256:1024))flushc(c); memcpy(c->out+c->outlen,s,n);c->outlen+=n;}
static void cl(C*c){ flushc(c); close(c->fd); cs[c->fd]=0; free(c);}
static int line(C*c,char*l,int n){ // returns 1 to close
  if(n>=4&&!strncasecmp(l,"MAIL",4)) say(c,"250 2.1.0 Ok\r\n");
  else if(n>=4&&!strncasecmp(l,"RCPT",4)){ char*a=memchr(l,'<',n),*b=a?memchr(a,'>',n-(a-l)):0; int k=(a&&b)?b-a-1:0; if(k>255)k=255; if(k)memcpy(c->rcpt,a+1,k); c->rcpt[k]=0; say(c,"250 2.1.5 Ok\r\n");}
  else if(n>=4&&!strncasecmp(l,"DATA",4)){ say(c,"354 End data with <CR><LF>.<CR><LF>\r\n"); c->st=1; memcpy(c->tail,"\0\0\r\n",4);}
  else if(n>=4&&!strncasecmp(l,"EHLO",4)) say(c,"250-fsink\r\n250-PIPELINING\r\n250-8BITMIME\r\n250 SIZE 20000000\r\n");
  else if(n>=4&&!strncasecmp(l,"QUIT",4)){ say(c,"221 2.0.0 Bye\r\n"); return dly?0:1;}
  else say(c,"250 2.0.0 Ok\r\n");
  return 0; }
static void note(C*c){ char l[300]; struct timespec t; clock_gettime(CLOCK_REALTIME,&t); int k=snprintf(l,sizeof l,"%s %ld.%03ld\n",c->rcpt,(long)t.tv_sec,t.tv_nsec/1000000); if(write(lf,l,k)!=k){perror("log");exit(4);} }
static void done(C*c){ nmsg++; if(lf>=0)note(c); say(c,"250 2.0.0 Ok: queued\r\n"); c->st=0; }
static int feed(C*c,char*p,long n){ // returns 1 close
  while(n>0){
    if(c->st==0){ char*e=memchr(p,'\n',n); long k=e?e-p+1:n; if(c->len+k>(long)sizeof c->buf){return 1;} memcpy(c->buf+c->len,p,k); c->len+=k; p+=k;n-=k; if(e){int L=c->len;c->len=0; if(line(c,c->buf,L))return 1;} }
    else { // data: boundary check using tail(4) + first up to 4
      char w[9]; long k=n<4?n:4; memcpy(w,c->tail,4); memcpy(w+4,p,k); char*h=memmem(w,4+k,"\r\n.\r\n",5);
      if(h){ long used=(h-w)+5-4; p+=used;n-=used; done(c); continue; }
      h=memmem(p,n,"\r\n.\r\n",5);
      if(h){ long used=h-p+5; p+=used;n-=used; done(c); continue; }
      if(n>=4)memcpy(c->tail,p+n-4,4); else { memmove(c->tail,c->tail+n,4-n); memcpy(c->tail+4-n,p,n);} n=0; } }
  return 0; }
int main(int ac,char**av){ int port=atoi(av[1]); dly=ac>2?atoi(av[2]):0; if(ac>3&&(lf=open(av[3],O_WRONLY|O_CREAT|O_APPEND,0600))<0){perror(av[3]);return 1;} prctl(PR_SET_PDEATHSIG,SIGTERM); q=malloc(sizeof(Q)*qcap);
  signal(SIGPIPE,SIG_IGN); struct sigaction sa={0}; sa.sa_handler=onterm; sigaction(SIGTERM,&sa,0);sigaction(SIGINT,&sa,0);
  int ls=socket(AF_INET,SOCK_STREAM,0),one=1; setsockopt(ls,SOL_SOCKET,SO_REUSEADDR,&one,4); struct sockaddr_in a={0}; a.sin_family=AF_INET;a.sin_port=htons(port);a.sin_addr.s_addr=htonl(INADDR_LOOPBACK); if(bind(ls,(void*)&a,sizeof a)){perror("bind");return 1;} listen(ls,1024);
  int ep=epoll_create1(0); struct epoll_event ev={EPOLLIN},evs[256]; ev.data.fd=ls; epoll_ctl(ep,EPOLL_CTL_ADD,ls,&ev); static char rb[262144]; int gen=0;
  while(!stop){ int to=1000; if(dly&&qh!=qt){ double d=q[qh].due-now(); to=d<=0?0:(int)(d*1e3)+1; }
    int n=epoll_wait(ep,evs,256,to);
    if(dly){double t=now(); while(qh!=qt&&q[qh].due<=t){Q*e=&q[qh]; C*c=cs[e->fd]; if(c&&c->gen==e->gen&&write(e->fd,e->s,e->n)<0){} qh=(qh+1)%qcap;}}
    for(int i=0;i<n;i++){ int fd=evs[i].data.fd; if(fd==ls){ int f=accept4(ls,0,0,SOCK_NONBLOCK); if(f<0)continue; setsockopt(f,IPPROTO_TCP,TCP_NODELAY,&one,4); C*c=calloc(1,sizeof*c); c->fd=f;c->gen=++gen;cs[f]=c;nconn++; ev.events=EPOLLIN;ev.data.fd=f;epoll_ctl(ep,EPOLL_CTL_ADD,f,&ev); say(c,"220 fsink ESMTP\r\n");flushc(c);} 
      else { C*c=cs[fd]; if(!c)continue; long r=read(fd,rb,sizeof rb); if(r<=0){ if(r<0&&errno==EAGAIN)continue; cl(c); continue;} nbytes+=r; if(feed(c,rb,r)){cl(c);continue;} flushc(c);} } }
  fprintf(stderr,"{\"msgs\":%ld,\"bytes\":%ld,\"conns\":%ld}\n",nmsg,nbytes,nconn); return 0; }
